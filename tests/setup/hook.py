"""Somebody who is told what happens, as a receiver of webhooks does it with the libraries for that: it verifies each
signature with standardwebhooks and reads each event with the CloudEvents SDK.

Usage: hook.py SECRET OUT [STATUS]. Prints its port; adds each event that is genuine to OUT, as a line of JSON, and
answers 204, or STATUS if given. What is not genuine is answered with 401 and not kept. POST /slack keeps what it is sent.
"""

import http.server
import json
import sys

from cloudevents.v1.http import from_http
from standardwebhooks import Webhook, WebhookVerificationError

secret, out = sys.argv[1:3]
status = int(sys.argv[3]) if len(sys.argv) > 3 else 204


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/slack":
            kept = {"slack": json.loads(body)}
        else:
            try:
                Webhook(secret).verify(body.decode(), dict(self.headers.items()))
            except WebhookVerificationError:
                return self.answer(401)
            event = from_http(dict(self.headers.items()), body)
            kept = {**event.get_attributes(), "data": event.get_data()}
        with open(out, "a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")
        return self.answer(status)

    def answer(self, code):
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
