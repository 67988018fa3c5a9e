"""An identity of the lake may do what its policy says, and nothing else; made again, it is what its folder says now."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from deltalake.exceptions import DeltaError
from pydantic import SecretStr

from lake.domain import load_domain
from lake.errors import BadSettings
from lake.raw import Raw
from lake.registry import Registry
from lake.settings import Settings
from local.await_provision import missing_topic, missing_version
from local.identities import create_identities
from local.provision import provision
from streaming.progress import Progress
from streaming.topic import Topic
from tests.helm.chart import lake_rights


def identity(folder: Path, access_key: str, secret_key: str, bucket: str, *written: str) -> None:
    """A folder of an identity that may read the bucket, and write below some prefixes."""
    bucket_arn = f"arn:aws:s3:::{bucket}"
    read = {
        "Effect": "Allow",
        "Action": ["s3:ListBucket", "s3:GetObject"],
        "Resource": [bucket_arn, f"{bucket_arn}/*"],
    }
    write = {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": [f"{bucket_arn}/{each}" for each in written]}
    folder.mkdir(exist_ok=True)
    (folder / "TIDEMARK_S3_ACCESS_KEY").write_text(access_key)
    (folder / "TIDEMARK_S3_SECRET_KEY").write_text(secret_key + "\n")
    statements = [read, write] if written else [read]
    (folder / "policy.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))


def as_identity(settings: Settings, access_key: str, secret_key: str) -> Settings:
    return settings.model_copy(update={"s3_access_key": access_key, "s3_secret_key": SecretStr(secret_key)})


def test_an_identity_reads_all_and_writes_only_what_its_policy_names(sandbox, tmp_path) -> None:
    settings, domain = sandbox.settings, sandbox.domain
    name = f"{settings.bucket}-lander"
    identity(tmp_path / "lander", name, "key-of-the-lander", settings.bucket, "raw/*")
    create_identities(settings, tmp_path)
    lander = as_identity(settings, name, "key-of-the-lander")
    Raw(lander, domain).create("a-topic")
    with pytest.raises((OSError, DeltaError), match=r"(?i)denied|403|forbidden"):
        Registry(lander).declare(domain)
    Registry(settings).declare(domain)
    assert Registry(lander).live(domain.name) is not None


def test_the_routers_identity_notes_how_far_it_has_come_and_lands_nothing(sandbox, tmp_path) -> None:
    settings, domain = sandbox.settings, sandbox.domain
    name = f"{settings.bucket}-router"
    identity(tmp_path / "router", name, "key-of-the-router", settings.bucket, *lake_rights()["router"])
    create_identities(settings, tmp_path)
    router = as_identity(settings, name, "key-of-the-router")
    progress = Progress(router, domain, topic := Topic(domain.topic, "a-topic", (0,)))
    progress.claim(0, lambda: {0: 3}, threading.Event())
    progress.release()
    assert Progress(router, domain, topic).of(topic) == {0: 3}
    with pytest.raises((OSError, DeltaError), match=r"(?i)denied|403|forbidden"):
        Raw(router, domain).create("a-topic")


def test_made_again_an_identity_has_the_keys_of_its_folder(sandbox, tmp_path) -> None:
    settings, domain = sandbox.settings, sandbox.domain
    name = f"{settings.bucket}-reader"
    for secret_key in ("the-first-key", "the-second-key"):
        identity(tmp_path / "reader", name, secret_key, settings.bucket)
        create_identities(settings, tmp_path)
    Registry(settings).declare(domain)
    assert missing_version(as_identity(settings, name, "the-second-key"), domain) is None
    assert missing_version(as_identity(settings, name, "the-first-key"), domain) is not None


def test_an_identity_that_several_folders_name_may_do_what_each_says(sandbox, tmp_path) -> None:
    settings, domain = sandbox.settings, sandbox.domain
    name = f"{settings.bucket}-shared"
    for component, written in {"jobs": ["*"], "lander": ["raw/*"], "speed": []}.items():
        identity(tmp_path / component, name, "the-shared-key", settings.bucket, *written)
    for _ in range(2):
        create_identities(settings, tmp_path)
    shared = as_identity(settings, name, "the-shared-key")
    Raw(shared, domain).create("a-topic")
    Registry(shared).declare(domain)
    assert missing_version(shared, domain) is None


def test_an_identity_with_two_secret_keys_is_refused(settings, tmp_path) -> None:
    for name in ("lander", "speed"):
        identity(tmp_path / name, "shared", f"key-of-{name}", settings.bucket)
    with pytest.raises(BadSettings, match="speed: another folder has another secret key of shared"):
        create_identities(settings, tmp_path)


def test_the_root_itself_is_left_as_it_is(settings, tmp_path) -> None:
    key = settings.s3_secret_key.get_secret_value()
    identity(tmp_path / "lander", settings.s3_access_key, key, settings.bucket, "raw/*")
    create_identities(settings, tmp_path)


@pytest.mark.parametrize(("text", "told"), [("{", "no JSON document"), ('{"Statement": 1}', "is no policy: expected")])
def test_a_policy_that_is_none_is_refused(settings, tmp_path, text: str, told: str) -> None:
    identity(tmp_path / "speed", "reader", "key-of-the-reader", settings.bucket)
    (tmp_path / "speed/policy.json").write_text(text)
    with pytest.raises(BadSettings, match=told):
        create_identities(settings, tmp_path)


def test_a_file_that_is_missing_is_named(settings, tmp_path) -> None:
    (tmp_path / "speed").mkdir()
    with pytest.raises(BadSettings, match=r"speed/TIDEMARK_S3_ACCESS_KEY: .* expected a folder with TIDEMARK_S3"):
        create_identities(settings, tmp_path)


def test_what_is_not_provisioned_yet_is_told_and_then_is_there(make_sandbox) -> None:
    sandbox = make_sandbox()
    settings, declared = sandbox.settings, sandbox.domain
    domain = declared.model_copy(update={"topic": f"{declared.topic}_late"})
    assert missing_topic(settings, domain) == f"topic '{domain.topic}' is not there yet"
    assert missing_version(settings, domain) == f"no version of '{domain.name}' is live yet"
    provision(settings, domain)
    assert missing_topic(settings, domain) is None
    assert missing_version(settings, domain) is None


def test_servers_that_are_away_are_told(settings) -> None:
    away = settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1", "s3_endpoint": "http://127.0.0.1:1"})
    domain = load_domain("shop", settings.domains_dir)
    assert "127.0.0.1:1" in (missing_topic(away, domain) or "")
    assert "127.0.0.1:1" in (missing_version(away, domain) or "")
