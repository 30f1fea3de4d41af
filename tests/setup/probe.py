"""Tries sessions: each reads one object once.

Reads {"endpoint", "bucket", "key", "sessions": [{"access_key_id", "secret_access_key", "session_token"}]} from standard
input, prints a JSON list of "allowed", "refused CODE" or "unknown TEXT".
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


def look(boto, task, session):
    s3 = boto.client(
        "s3",
        endpoint_url=task["endpoint"],
        config=CONFIG,
        aws_access_key_id=session["access_key_id"],
        aws_secret_access_key=session["secret_access_key"],
        aws_session_token=session["session_token"],
    )
    try:
        s3.get_object(Bucket=task["bucket"], Key=task["key"])["Body"].read()
        return "allowed"
    except ClientError as error:
        return f"refused {error.response['Error']['Code']}"
    except BotoCoreError as error:
        return f"unknown {error}"


def main():
    task = json.load(sys.stdin)
    boto = boto3.Session(region_name="eu-west-1")
    print(json.dumps([look(boto, task, session) for session in task["sessions"]]))


if __name__ == "__main__":
    main()
