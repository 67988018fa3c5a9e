"""Who may do what in MinIO: a folder holds an identity's two keys and its policy; several may be of one identity.

Invariant: made again, an identity has the keys and the policies that its folders hold now; no other is touched.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from minio import MinioAdmin
from minio.credentials import StaticProvider
from minio.error import MinioAdminException

from lake.errors import BadSettings, TidemarkError
from lake.settings import Settings

KEYS = ("TIDEMARK_S3_ACCESS_KEY", "TIDEMARK_S3_SECRET_KEY")
POLICY = "policy.json"
_LANGUAGE = "2012-10-17"  # The version of it that policies are written in.


@dataclass
class _Identity:
    secret_key: str
    statements: list[Any] = field(default_factory=list)


def create_identities(settings: Settings, folder: Path) -> None:
    """Make the identities of the folders in `folder`; one that several name may do what each of their policies says.

    The root, whose keys `settings` has, may do everything already. Raises BadSettings for a file that is missing or is
    no policy, TidemarkError for what MinIO refuses.
    """
    endpoint = urlsplit(settings.s3_endpoint)
    admin = MinioAdmin(
        endpoint=endpoint.netloc,
        credentials=StaticProvider(settings.s3_access_key, settings.s3_secret_key.get_secret_value()),
        region=settings.s3_region,
        secure=endpoint.scheme == "https",
    )
    for access_key, identity in _read_identities(folder).items():
        if access_key == settings.s3_access_key:
            continue
        try:
            admin.policy_add(access_key, policy={"Version": _LANGUAGE, "Statement": identity.statements})
            admin.user_add(access_key, identity.secret_key)
            admin.policy_set(access_key, user=access_key)
        except MinioAdminException as error:
            raise TidemarkError(
                f"MinIO at {settings.s3_endpoint} refuses the identity {access_key}: {error}; "
                "are the keys that this is done with those of its root?"
            ) from error
        print(f"identity {access_key}: its keys and its policy are there", file=sys.stderr)


def _read_identities(folder: Path) -> dict[str, _Identity]:
    """By access key."""
    identities: dict[str, _Identity] = {}
    for each in folders(folder):
        access_key, secret_key = (read_text(each / key, *KEYS, POLICY).strip() for key in KEYS)
        identity = identities.setdefault(access_key, _Identity(secret_key))
        if identity.secret_key != secret_key:
            raise BadSettings(f"{each}: another folder has another secret key of {access_key}; give both the same one")
        identity.statements += [new for new in _statements(each / POLICY) if new not in identity.statements]
    return identities


def _statements(path: Path) -> list[Any]:
    text = read_text(path, *KEYS, POLICY)
    try:
        policy = json.loads(text)
    except ValueError as error:
        raise BadSettings(f"{path} is no JSON document: {error}") from None
    match policy:
        case {"Statement": [*statements]}:
            return statements
    raise BadSettings(f'{path} is no policy: expected {{"Version": ..., "Statement": [...]}}')


def folders(folder: Path) -> list[Path]:
    """Those in `folder`, in order; Kubernetes' own, which begin with a dot, are left out."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def read_text(path: Path, *names: str) -> str:
    """A file of a folder that is to hold `names`. Raises BadSettings."""
    try:
        return path.read_text()
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}; expected a folder with {', '.join(names)}") from None
