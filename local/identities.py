"""Who may do what in MinIO: an identity is a folder with its two keys and its policy.

Invariant: made again, an identity has the keys and the policy that its folder holds now; no other is touched.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from minio import MinioAdmin
from minio.credentials import StaticProvider
from minio.error import MinioAdminException

from lake.errors import BadSettings, TidemarkError
from lake.settings import Settings

KEYS = ("TIDEMARK_S3_ACCESS_KEY", "TIDEMARK_S3_SECRET_KEY")
POLICY = "policy.json"


def create_identities(settings: Settings, folder: Path) -> None:
    """Make each folder in `folder` an identity. Raises BadSettings for a file that is missing or is no policy."""
    endpoint = urlsplit(settings.s3_endpoint)
    admin = MinioAdmin(
        endpoint=endpoint.netloc,
        credentials=StaticProvider(settings.s3_access_key, settings.s3_secret_key.get_secret_value()),
        region=settings.s3_region,
        secure=endpoint.scheme == "https",
    )
    for each in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        access_key, secret_key = (read_text(each / key, *KEYS, POLICY).strip() for key in KEYS)
        try:
            policy = json.loads(read_text(each / POLICY, *KEYS, POLICY))
        except ValueError as error:
            raise BadSettings(f"{each / POLICY} is no JSON document: {error}") from None
        try:
            admin.policy_add(access_key, policy=policy)
            admin.user_add(access_key, secret_key)
            admin.policy_set(access_key, user=access_key)
        except MinioAdminException as error:
            raise TidemarkError(
                f"MinIO at {settings.s3_endpoint} refuses the identity {each.name}: {error}; "
                "are the keys that this is done with those of its root?"
            ) from error
        print(f"identity {each.name}: its keys and its policy are there", file=sys.stderr)


def read_text(path: Path, *names: str) -> str:
    """A file of a folder that is to hold `names`. Raises BadSettings."""
    try:
        return path.read_text()
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}; expected a folder with {', '.join(names)}") from None
