"""Tries sessions: each reads one object once.

For each line {"endpoint", "key", "tasks": [{"bucket", "session": {"access_key_id", "secret_access_key", "session_token"}}]}
on standard input it prints a line with a JSON list of "allowed", "refused CODE" or "unknown TEXT".
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# One attempt: a retry would turn a revocation that takes effect just now into a pass.
CONFIG = Config(
    s3={"addressing_style": "path"},
    retries={"total_max_attempts": 1, "mode": "standard"},
    connect_timeout=5,
    read_timeout=10,
)


def look(boto, endpoint, key, bucket, session):
    s3 = boto.client(
        "s3",
        endpoint_url=endpoint,
        config=CONFIG,
        aws_access_key_id=session["access_key_id"],
        aws_secret_access_key=session["secret_access_key"],
        aws_session_token=session["session_token"],
    )
    try:
        s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return "allowed"
    except ClientError as error:
        return f"refused {error.response['Error']['Code']}"
    except BotoCoreError as error:
        return f"unknown {error}"


def main():
    boto = boto3.Session(region_name="eu-west-1")
    for line in sys.stdin:
        asked = json.loads(line)
        where = asked["endpoint"], asked["key"]
        outcomes = [look(boto, *where, task["bucket"], task["session"]) for task in asked["tasks"]]
        print(json.dumps(outcomes), flush=True)


if __name__ == "__main__":
    main()
