"""What the vendor's own clients do against the fake of Azure, step by step. One JSON object on standard input; what each
step came to on standard output."""

import json
import os
import sys

told = json.load(sys.stdin)
os.environ["REQUESTS_CA_BUNDLE"] = told["ca"]

from azure.core.exceptions import HttpResponseError
from azure.identity import ClientAssertionCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.authorization.models import RoleAssignmentCreateParameters
from azure.mgmt.authorization.v2020_10_01.models import (
    RoleAssignmentScheduleRequest,
    RoleAssignmentScheduleRequestPropertiesScheduleInfo,
    RoleAssignmentScheduleRequestPropertiesScheduleInfoExpiration,
)
from azure.storage.blob import BlobClient


def credential(client, assertion):
    return ClientAssertionCredential(
        told["tenant"], client, lambda: assertion, authority=told["url"], disable_instance_discovery=True
    )


def outcome(step):
    try:
        return step()
    except HttpResponseError as error:
        return [error.status_code, error.error.code if error.error else error.error_code]


def identity(step):
    try:
        step()
        return "token"
    except Exception as error:  # noqa: BLE001 - whatever it is, its words are looked at
        return str(error)


base = credential(told["base"], told["base_assertion"])
client = AuthorizationManagementClient(
    base,
    told["subscription"],
    base_url=told["url"],
    credential_scopes=["https://management.azure.com/.default"],
    retry_total=0,
)
arm = client.role_assignments
schedules, instances = client.role_assignment_schedule_requests, client.role_assignment_schedule_instances
slot = credential(told["slot"], told["slot_assertion"])
blob = BlobClient(
    told["url"] + "/blob/store", told["container"].rsplit("/", 1)[1], "hello.txt", credential=slot, retry_total=0
)
parameters = RoleAssignmentCreateParameters(
    role_definition_id=told["role"],
    principal_id=told["principal"],
    principal_type="ServicePrincipal",
    description=told["description"],
    condition=told["condition"],
    condition_version="2.0" if told["condition"] else None,
)
foreign = RoleAssignmentCreateParameters(
    role_definition_id=told["role"], principal_id=told["base_principal"], principal_type="ServicePrincipal"
)
scope, name, other = told["container"], told["name"], told["other_name"]


def read():
    return blob.download_blob().readall().decode()


def listed():
    found = arm.list_for_subscription(filter="principalId eq '%s'" % told["principal"])
    return [one.name for one in found]


def asked(kind, end=None):
    """A schedule request: an assignment until `end`, or the end of one."""
    expiration = RoleAssignmentScheduleRequestPropertiesScheduleInfoExpiration(type="AfterDateTime", end_date_time=end)
    info = RoleAssignmentScheduleRequestPropertiesScheduleInfo(start_date_time=told["start"], expiration=expiration)
    return RoleAssignmentScheduleRequest(
        role_definition_id=told["role"],
        principal_id=told["principal"],
        request_type=kind,
        justification=told["description"],
        schedule_info=info if end else None,
        condition=told["condition"] if end else None,
        condition_version="2.0" if end else None,
    )


def stand():
    found = instances.list_for_scope(told["subscription_scope"], filter="principalId eq '%s'" % told["principal"])
    return [one.origin_role_assignment_id for one in found]


def requested():
    found = schedules.list_for_scope(told["subscription_scope"], filter="principalId eq '%s'" % told["principal"])
    return [one.name for one in found]


print(
    json.dumps(
        {
            "wrong_assertion": identity(
                lambda: credential(told["slot"], told["base_assertion"]).get_token("https://storage.azure.com/.default")
            ),
            "before": outcome(read),
            "missing": outcome(lambda: arm.get(scope, name)),
            "created": outcome(lambda: arm.create(scope, name, parameters).name),
            "same_again": outcome(lambda: arm.create(scope, name, parameters).name),
            "same_triple": outcome(lambda: arm.create(scope, other, parameters).name),
            "not_delegated": outcome(lambda: arm.create(scope, other, foreign).name),
            "listed": outcome(listed),
            "read": outcome(read),
            "deleted": outcome(lambda: arm.delete(scope, name).name),
            "deleted_again": outcome(lambda: arm.delete(scope, name)),
            "gone": outcome(lambda: arm.get(scope, name)),
            "after": outcome(read),
            "pim_too_short": outcome(lambda: schedules.create(scope, name, asked("AdminAssign", told["too_soon"])).status),
            "pim_asked": outcome(lambda: schedules.create(scope, name, asked("AdminAssign", told["end"])).status),
            "pim_asked_again": outcome(lambda: schedules.create(scope, other, asked("AdminAssign", told["end"])).status),
            "pim_same_name": outcome(lambda: schedules.create(scope, name, asked("AdminAssign", told["end"])).status),
            "pim_get": outcome(lambda: schedules.get(scope, name).justification),
            "pim_listed": outcome(requested),
            "pim_stands": len(outcome(stand)),
            "pim_read": outcome(read),
            "pim_too_early": outcome(lambda: schedules.create(scope, other, asked("AdminRemove")).status),
            "pim_deleted": outcome(lambda: arm.delete_by_id(stand()[0]) and None),
            "pim_nothing": outcome(lambda: schedules.create(scope, other, asked("AdminRemove")).status),
            "pim_over": outcome(read),
        }
    )
)
