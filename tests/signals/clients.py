"""Reads a ticket of each system and who is on call, with the clients that people use for them, unmodified.

Usage: clients.py URL. Prints one JSON object: what each of them read, and how each was refused with a wrong proof.
"""

import json
import sys

import github
import jira
import pagerduty
import pysnow

url = sys.argv[1]
host = url.removeprefix("https://")


def in_jira(secret):
    client = jira.JIRA(
        url, basic_auth=("grantd@example.com", secret), options={"rest_api_version": "3"}, get_server_info=False,
        max_retries=0,
    )
    issue = client.issue("OPS-17", expand="changelog")
    moves = [one.author.emailAddress for one in issue.changelog.histories if one.items[0].field == "status"]
    return {
        "key": issue.key, "state": issue.fields.status.name, "assignee": issue.fields.assignee.emailAddress,
        "reporter": issue.fields.reporter.emailAddress, "labels": issue.fields.labels, "moved_by": moves[0],
    }


def in_servicenow(secret):
    client = pysnow.Client(host=host, user="grantd@example.com", password=secret)
    changes = client.resource(api_path="/table/change_request")
    change = changes.get(query={"number": "CHG0030192"}, fields=["number", "state", "assigned_to.email"]).one()
    return change


def in_github(token):
    client = github.Github(base_url=url, auth=github.Auth.Token(token), retry=None)
    issue = client.get_repo("acme/ops", lazy=True).get_issue(12)
    return {
        "number": issue.number, "state": issue.state, "assignee": issue.assignee.login, "opened_by": issue.user.login,
        "labels": [label.name for label in issue.labels], "moved_by": [e.actor.login for e in issue.get_events()],
    }


def in_pagerduty(key):
    client = pagerduty.RestApiV2Client(key)
    client.url = url
    on_call = client.list_all("oncalls", params={"schedule_ids[]": ["PI7DH85"], "include[]": ["users"]})
    window = {"since": "2020-01-01T00:00:00Z", "until": "2090-01-01T00:00:00Z"}
    overrides = client.rget("/schedules/PI7DH85/overrides", params=window)
    return {
        "on_call": [one["user"]["email"] for one in on_call],
        "overrides": [one["user"]["id"] for one in overrides],
    }


def refused(read, proof):
    try:
        read(proof)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "it was let in"


systems = {
    "jira": (in_jira, "desk-secret", "wrong"),
    "servicenow": (in_servicenow, "desk-secret", "wrong"),
    "github": (in_github, "github_pat_11DESK", "wrong"),
    "pagerduty": (in_pagerduty, "y_NbAkKc66ryYTWUXYEu", "wrong"),
}
told = {}
for name, (read, right, wrong) in systems.items():
    told[name] = {"read": read(right), "refused": refused(read, wrong)}
json.dump(told, sys.stdout)
