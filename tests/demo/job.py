"""A job as anybody would write it, with the cloud's own client and no word of grantd: reads the report, tries another one, and
works on until it is told to end. What it saw is in its home, with the token, which a careless program may well leave there."""

import os
import sys

cloud, storage, granted, other, until = sys.argv[1:]


def azure():
    from azure.core.exceptions import HttpResponseError
    from azure.identity import DefaultAzureCredential
    from azure.storage.blob import BlobClient

    credential = DefaultAzureCredential()

    def read(container):
        try:
            return BlobClient(storage, container, "hello.txt", credential=credential).download_blob().readall().decode()
        except HttpResponseError as error:
            return f"refused: {error.status_code} {error.error_code}"

    return read, lambda: credential.get_token("https://storage.azure.com/.default").token


def gcp():
    import google.auth
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud.storage import Client

    credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    client = Client(project, credentials, client_options={"api_endpoint": storage})

    def read(bucket):
        try:
            return client.bucket(bucket).blob("in/hello.txt").download_as_bytes().decode()
        except GoogleAPICallError as error:
            return f"refused: {error.code} {type(error).__name__}"

    return read, lambda: credentials.token


read, token = {"azure": azure, "gcp": gcp}[cloud]()
home = os.environ["HOME"]
for name, text in [("granted", read(granted)), ("other", read(other)), ("token", "Authorization: Bearer " + token())]:
    with open(f"{home}/{cloud}.{name}", "w") as file:
        print(text.strip(), file=file)
open(f"{home}/{cloud}.done", "w").close()
open(until).readline()
