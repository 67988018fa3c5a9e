"""Who may do what in Kafka: a folder holds a user's name, its password and rights; several may be of one user.

Invariant: made again, a user has the password and exactly the rights that its folders hold now; no other is touched.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from lake.errors import BadSettings, TidemarkError
from lake.kafka_clients import GROUP, librdkafka_options
from lake.settings import Settings
from local.identities import folders, read_text

NAME, PASSWORD = "TIDEMARK_KAFKA_USERNAME", "TIDEMARK_KAFKA_PASSWORD"
RIGHTS = "rights.json"
# Either of both implies Describe; whoever may do one may ask, too, whether the topic has the broker's times.
_OPERATIONS = {
    "read": [AclOperation.READ, AclOperation.DESCRIBE_CONFIGS],
    "write": [AclOperation.WRITE, AclOperation.DESCRIBE_CONFIGS],
}
_ITERATIONS = 8192
_REQUEST_SECONDS = 30


@dataclass
class _User:
    password: str
    rights: set[AclBinding] = field(default_factory=set)


def create_users(settings: Settings, folder: Path) -> None:
    """Make the users of the folders in `folder`, with SCRAM-SHA-512; one that several name has the rights of all.

    Raises BadSettings for a file that is missing or not as it should be, TidemarkError for what the brokers refuse.
    """
    admin: Any = AdminClient(librdkafka_options(settings))
    for name, user in _read_users(folder).items():
        try:
            _set_password(admin, name, user.password)
            _set_rights(admin, name, user.rights)
        except KafkaException as error:
            raise TidemarkError(
                f"Kafka at {settings.kafka_bootstrap} refuses the user {name}: {error.args[0].str()}; is this done by "
                "one of its super users?"
            ) from error
        print(f"user {name}: its password and its rights are there", file=sys.stderr)


def _read_users(folder: Path) -> dict[str, _User]:
    users: dict[str, _User] = {}
    for each in folders(folder):
        name, password = (read_text(each / key, NAME, PASSWORD, RIGHTS).strip() for key in (NAME, PASSWORD))
        user = users.setdefault(name, _User(password))
        if user.password != password:
            raise BadSettings(f"{each}: another folder has another password of {name}; give both the same one")
        user.rights.update(_rights(each / RIGHTS, name))
    return users


def _rights(path: Path, name: str) -> Iterator[AclBinding]:
    text = read_text(path, NAME, PASSWORD, RIGHTS)
    try:
        rights = {right: list(topics) for right, topics in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise BadSettings(f"{path} is not as expected, {{right: [topic, ...]}}: {error}") from None
    for right, topics in rights.items():
        if right not in _OPERATIONS:
            raise BadSettings(f"{path}: there is no right '{right}'; expected {' or '.join(_OPERATIONS)}")
        for topic in topics:
            for operation in _OPERATIONS[right]:
                yield _allow(name, ResourceType.TOPIC, topic, operation)
        if right == "read" and topics:
            yield _allow(name, ResourceType.GROUP, GROUP, AclOperation.READ)


def _allow(user: str, kind: ResourceType, name: str, operation: AclOperation) -> AclBinding:
    allowed = AclPermissionType.ALLOW
    return AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, allowed)


def _set_password(admin: Any, name: str, password: str) -> None:
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
    change = UserScramCredentialUpsertion(name, info, password.encode())
    _finish(admin.alter_user_scram_credentials([change], request_timeout=_REQUEST_SECONDS))


def _set_rights(admin: Any, name: str, wanted: set[AclBinding]) -> None:
    anything: Any = None
    of_user = AclBindingFilter(
        ResourceType.ANY,
        anything,
        ResourcePatternType.ANY,
        f"User:{name}",
        anything,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    present = set(admin.describe_acls(of_user, request_timeout=_REQUEST_SECONDS).result())
    if missing := wanted - present:
        _finish(admin.create_acls(list(missing), request_timeout=_REQUEST_SECONDS))
    if left := present - wanted:
        _finish(admin.delete_acls([_only(each) for each in left], request_timeout=_REQUEST_SECONDS))


def _only(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


def _finish(asked: dict[Any, Future[Any]]) -> None:
    for future in asked.values():
        future.result()
