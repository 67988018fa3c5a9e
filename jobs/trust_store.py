"""`python -m jobs.trust_store BUNDLE STORE`: certificates in PEM as Java believes them, since it reads no PEM itself.

Source: keytool's manual, -importcert, which takes one certificate at a time.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from lake.certificates import bundle as merged
from lake.errors import BadSettings, exit_on_error

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)
# A store of certificates has to have one; what it guards is public.
_PASSWORD = "tidemark"


def make_trust_store(bundle: Path, store: Path) -> list[str]:
    """The options by which a JVM believes the bundle's certificates alone. Raises BadSettings."""
    certificates = _CERTIFICATE.findall(bundle.read_text())
    if not certificates:
        raise BadSettings(f"TIDEMARK_CA_FILE={bundle} holds no certificate; expected certificates, PEM")
    keytool = shutil.which("keytool")
    if keytool is None:
        raise BadSettings("keytool is not on PATH, which comes with Java: `make doctor` says how to get it")
    store.unlink(missing_ok=True)
    for number, certificate in enumerate(certificates):
        done = subprocess.run(
            [
                *(keytool, "-importcert", "-noprompt", "-alias", str(number), "-storetype", "PKCS12"),
                *("-keystore", str(store), "-storepass", _PASSWORD),
            ],
            check=False,
            input=certificate,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BadSettings(f"Java does not take a certificate of {bundle}: {done.stdout.strip()}")
    options = {"trustStore": store, "trustStoreType": "PKCS12", "trustStorePassword": _PASSWORD}
    return [f"-Djavax.net.ssl.{name}={value}" for name, value in options.items()]


def main(
    bundle: Annotated[Path, typer.Argument(help="Certificates, PEM, or a folder of *.crt.")],
    store: Annotated[Path, typer.Argument(help="Made anew.")],
) -> None:
    """Make the store, and print a JVM's options for it, one a line."""
    with exit_on_error():
        print("\n".join(make_trust_store(merged(bundle), store)))


if __name__ == "__main__":
    typer.run(main)
