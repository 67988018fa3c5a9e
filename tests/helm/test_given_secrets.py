"""Secrets that a person gives are used by servers and clients alike; those that a cluster holds already stay."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
import yaml

from tests.helm.chart import Object, named, named_keys, of_kind, plain, pods, template
from tests.helm.lookup_api import cluster_with

_ALL_GIVEN = (
    *("tls.enabled=true", "tls.existingSecret=servers", "kafka.existingSecret=user", "s3.existingSecret=keys"),
    *("minio.existingSecret=root", "store.existingSecret=store", "postgres.existingSecret=database"),
    *("airflow.existingSecret=airflow", "monitoring.exporters=true"),
)


def render(*options: str) -> list[Object]:
    done = template(*options)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def sets(*values: str) -> tuple[str, ...]:
    return tuple(option for value in values for option in ("--set", value))


def readers(found: list[Object], secret: str) -> set[tuple[str, str | None]]:
    """Components and the entry of a Secret that each reads; None is all of it."""
    return {
        (pod.labels["app.kubernetes.io/component"], key)
        for pod in pods(found)
        for name, key in named_keys(pod)
        if name == secret
    }


def test_where_every_secret_is_given_none_is_made_and_each_rendering_is_the_same() -> None:
    first, second = (template(*sets(*_ALL_GIVEN)).stdout for _ in range(2))
    assert first == second
    assert "kind: Deployment" in first
    assert "kind: Secret" not in first
    assert {name for pod in pods(render(*sets(*_ALL_GIVEN))) for name, _ in named_keys(pod)} == {
        value.partition("=")[2] for value in _ALL_GIVEN if "existingSecret" in value
    }


def test_the_releases_own_store_takes_its_password_from_the_secret_that_its_clients_read() -> None:
    found = render(*sets("store.existingSecret=mine", "monitoring.exporters=true"))
    assert ("store", "password") in readers(found, "mine")
    assert ("speed", "TIDEMARK_STORE_URL") in readers(found, "mine")
    assert readers(found, "tide-tidemark-store") == set()
    assert "tide-tidemark-store" not in {each["metadata"]["name"] for each in of_kind(found, "Secret")}


def test_the_releases_own_database_takes_its_password_from_the_secret_that_airflow_reads() -> None:
    found = render(*sets("postgres.existingSecret=mine", "monitoring.exporters=true"))
    assert ("postgres", "password") in readers(found, "mine")
    assert ("scheduler", "connection") in readers(found, "mine")
    assert readers(found, "tide-tidemark-postgres") == set()
    assert "tide-tidemark-postgres" not in {each["metadata"]["name"] for each in of_kind(found, "Secret")}


@pytest.mark.parametrize(
    ("values", "folder", "shared"),
    [
        (("s3.existingSecret=one",), "identities", {"airflow", "jobs", "lander", "router", "serve", "speed"}),
        (("s3.existingSecrets.lander=one", "s3.existingSecrets.speed=one"), "identities", {"lander", "speed"}),
        (
            ("tls.enabled=true", "kafka.existingSecret=one"),
            "users",
            {"airflow", "canary", "jobs", "lander", "producer", "router", "serve", "speed"},
        ),
        (("tls.enabled=true", "kafka.existingSecrets.canary=one"), "users", {"canary"}),
    ],
)
def test_provision_makes_the_users_of_given_secrets_with_the_rights_of_each(
    values: tuple[str, ...], folder: str, shared: set[str]
) -> None:
    found = render(*sets(*values))
    [pod] = [pod for pod in pods(found) if pod.labels["app.kubernetes.io/component"] == "provision"]
    places = {each["name"]: each["mountPath"] for each in pod.containers[0]["volumeMounts"]}
    rights = {"identities": ("policies", "policy.json"), "users": ("rights", "rights.json")}[folder]
    given = set()
    for volume in pod.spec["volumes"]:
        match volume.get("projected", {}).get("sources"):
            case [{"secret": {"name": "one"}}, {"configMap": {"name": name, "items": [item]}}]:
                who = places[volume["name"]].removeprefix(f"/etc/tidemark/{folder}/")
                assert item == {"key": f"{who}.json", "path": rights[1]}
                assert item["key"] in named(found, "ConfigMap", name)["data"]
                given.add(who)
    assert given == shared


def refused(secrets: Mapping[str, Mapping[str, str]], *values: str) -> str:
    with cluster_with(secrets) as asked:
        done = template(*asked, *sets(*values))
    assert done.returncode != 0
    return done.stderr


def test_whoever_may_read_nothing_but_the_namespace_can_install() -> None:
    with cluster_with({}) as asked:
        done = template(*asked)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("value", "entries", "told"),
    [
        ("store.existingSecret=mine", None, "mine, which is not in the namespace lake: make it, with password, TIDEM"),
        ("store.existingSecret=mine", ["TIDEMARK_STORE_URL"], "mine, which lacks the key password: add it"),
        ("postgres.existingSecret=mine", ["connection"], "mine, which lacks the key password: add it"),
        (
            "s3.existingSecrets.router=mine",
            ["TIDEMARK_S3_ACCESS_KEY"],
            "lacks the key TIDEMARK_S3_SECRET_KEY: add it",
        ),
    ],
)
def test_a_given_secret_that_a_server_cannot_start_with_is_told(
    value: str, entries: list[str] | None, told: str
) -> None:
    secrets = {} if entries is None else {"mine": dict.fromkeys(entries, "x")}
    assert told in refused(secrets, value)


def test_a_server_elsewhere_needs_no_password_of_its_own() -> None:
    with cluster_with({"mine": {"TIDEMARK_STORE_URL": "x"}}) as asked:
        done = template(*asked, *sets("store.enabled=false", "store.existingSecret=mine"))
    assert done.returncode == 0, done.stderr


def test_a_password_that_the_cluster_holds_already_stays() -> None:
    with cluster_with({"tide-tidemark-store": {"password": "old"}}) as asked:
        found = render(*asked)
    assert plain(named(found, "Secret", "tide-tidemark-store"))["TIDEMARK_STORE_URL"].startswith("redis://:old@")


def test_an_admin_password_that_was_changed_by_hand_is_the_one_that_airflow_takes() -> None:
    with cluster_with(
        {"tide-tidemark-airflow": {"admin-password": "new", "passwords.json": '{"admin": "old"}'}}
    ) as asked:
        found = render(*asked)
    assert json.loads(plain(named(found, "Secret", "tide-tidemark-airflow"))["passwords.json"]) == {"admin": "new"}


_TLS = {"ca.crt": "authority", "tls.crt": "certificate", "tls.key": "key"}


def test_a_certificate_that_the_cluster_holds_stays_as_a_whole() -> None:
    with cluster_with({"tide-tidemark-tls": _TLS}) as asked:
        found = render(*asked, "--set", "tls.enabled=true")
    assert plain(named(found, "Secret", "tide-tidemark-tls")) == _TLS


@pytest.mark.parametrize("missing", _TLS)
def test_where_a_part_of_the_certificate_is_missing_all_of_it_is_made_anew(missing: str) -> None:
    left = {key: value for key, value in _TLS.items() if key != missing}
    with cluster_with({"tide-tidemark-tls": left}) as asked:
        found = render(*asked, "--set", "tls.enabled=true")
    made = plain(named(found, "Secret", "tide-tidemark-tls"))
    assert made.keys() == _TLS.keys()
    assert not set(made.values()) & set(_TLS.values())
