"""A caller that lives on while daemons die: takes one command a line, answers with one line. Both are JSON.

{"do": "call", "method", "path", "body"}   a request on a connection of its own
{"do": "hold", "path", "body"}             a request whose connection stays open; only the first line of the answer is read
{"do": "send", "path", "body"}             a request whose answer nobody waits for; the connection stays open
{"do": "release"}                          closes every connection that was kept open

The answer is {"status", "body"}, or {"error"} if there was none: a daemon that dies is no failure of the agent.
"""

import http.client
import json
import socket
import sys

SOCKET = sys.argv[1]


class Connection(http.client.HTTPConnection):
    def __init__(self):
        super().__init__("localhost", timeout=25)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def send(task):
    connection = Connection()
    body = task.get("body")
    text = None if body is None else json.dumps(body)
    connection.request(task.get("method", "POST"), task["path"], text, {"Content-Type": "application/json"})
    return connection


def read(text):
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text.decode(errors="replace")


def main():
    kept = []
    for line in sys.stdin:
        task = json.loads(line)
        answer = {}
        try:
            if task["do"] == "release":
                for connection in kept:
                    connection.close()
                kept.clear()
            elif task["do"] == "send":
                kept.append(send(task))
            else:
                connection = send(task)
                response = connection.getresponse()
                if task["do"] == "hold" and response.status == 200:
                    kept.append(connection)
                    connection.held = response
                    answer = {"status": response.status, "body": read(response.readline())}
                else:
                    answer = {"status": response.status, "body": read(response.read())}
                    connection.close()
        except (OSError, http.client.HTTPException) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
