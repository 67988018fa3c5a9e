"""No secret stands anywhere but in Secrets; each Secret that is named is there, or was given as a value."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from tests.helm.chart import CASES, CHART, lake_rights, named, named_keys, objects, of_kind, plain, pods, template

_GIVEN = {"lake-keys", "lander-keys", "store-url", "database", "minio-root", "airflow-keys", "tls", "login"}
_GIVEN |= {"tidemark-postgres-external", "webhook", "servers", "lander-user", "kafka-user", "company-ca"}
_SECRET_WORDS = re.compile(r"PASSWORD|SECRET|FERNET|TOKEN|ACCESS_KEY|_CONN$|STORE_URL")
_NAMES_OF_SECRETS = {"TIDEMARK_KUBERNETES_SECRET", "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"}


@pytest.mark.parametrize("case", CASES)
def test_every_secret_that_a_pod_reads_is_there_or_was_given(case: str) -> None:
    found = objects(case)
    keys = {each["metadata"]["name"]: each["data"].keys() for each in of_kind(found, "Secret")}
    read = {(name, key) for pod in pods(found) for name, key in named_keys(pod)}
    assert len(read) > 8
    for name, key in read:
        assert name in _GIVEN or (name in keys and (key is None or key in keys[name])), (name, key)
    assert keys.keys() <= {name for name, _ in read}


@pytest.mark.parametrize("case", CASES)
def test_no_variable_with_a_secret_has_its_value_in_plain_sight(case: str) -> None:
    found = objects(case)
    values: dict[str, Any] = {}
    for pod in pods(found):
        for container in pod.containers:
            values |= {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}
    for each in of_kind(found, "ConfigMap"):
        values |= each["data"]
    assert "TIDEMARK_S3_ENDPOINT" in values
    assert {name for name in values if _SECRET_WORDS.search(name)} <= _NAMES_OF_SECRETS


@pytest.mark.parametrize("case", CASES)
def test_no_generated_secret_is_anywhere_but_in_a_secret(case: str) -> None:
    found = objects(case)
    secrets = [value for each in of_kind(found, "Secret") for value in plain(each).values() if len(value) >= 20]
    assert secrets
    others = json.dumps([each for each in found if each["kind"] != "Secret"])
    assert [value for value in secrets if value in others] == []


def test_generated_secrets_are_long_and_differ_from_one_another_and_from_release_to_release() -> None:
    def generated(text: str) -> list[str]:
        return re.findall(
            r"^  (?:password|MINIO_ROOT_PASSWORD|TIDEMARK_S3_SECRET_KEY|jwt-secret|fernet-key): (\S+)$", text, re.M
        )

    first, second = (generated(template().stdout) for _ in range(2))
    assert len(first) == 11  # root, six identities, store, postgres, two of Airflow's
    assert len(set(first + second)) == 22
    assert all(len(base64.b64decode(value)) >= 32 for value in first)


def test_a_fernet_key_is_one() -> None:
    from cryptography.fernet import Fernet

    keys = plain(named(objects("default"), "Secret", "tide-tidemark-airflow"))
    assert Fernet(keys["fernet-key"]).decrypt(Fernet(keys["fernet-key"]).encrypt(b"x")) == b"x"
    assert json.loads(keys["passwords.json"]) == {"admin": keys["admin-password"]}


def test_the_stores_address_has_the_stores_password() -> None:
    keys = plain(named(objects("default"), "Secret", "tide-tidemark-store"))
    assert keys["TIDEMARK_STORE_URL"] == f"redis://:{keys['password']}@tide-tidemark-store.lake.svc:6379/0"


def test_a_password_that_the_cluster_holds_already_wins_over_a_new_one() -> None:
    """What `lookup` finds only a cluster can show; that nothing is generated past it can be read."""
    for path in (CHART / "templates").rglob("*.yaml"):
        for line in path.read_text().splitlines():
            if "randAlphaNum" in line:
                assert 'include "tidemark.kept"' in line, path


@pytest.mark.parametrize(
    ("component", "identity"),
    [
        *((same, same) for same in ("lander", "speed", "router")),
        *(("dashboard", "serve"), ("canary", "serve"), ("test", "serve")),
        *(("scheduler", "airflow"), ("console", "jobs")),
    ],
)
def test_a_component_has_the_keys_of_its_own_identity_alone(component: str, identity: str) -> None:
    [pod] = [p for p in pods(objects("routed")) if p.labels["app.kubernetes.io/component"] == component]
    names = {name for name, key in named_keys(pod) if key == "TIDEMARK_S3_SECRET_KEY"}
    assert names == {f"tide-tidemark-s3-{identity}"}


def test_an_identity_may_write_only_what_is_its_own() -> None:
    assert lake_rights() == {
        "airflow": [],
        "jobs": ["*"],
        "lander": ["raw/*"],
        "router": ["routes/*"],
        "serve": ["verifications/*"],
        "speed": [],
    }


def test_who_makes_pods_or_reads_their_logs_may_do_nothing_else() -> None:
    found = objects("kubernetes-executor")
    roles = {each["metadata"]["name"]: each["rules"] for each in of_kind(found, "Role")}
    assert roles.keys() == {"tide-tidemark-airflow", "tide-tidemark-jobs", "tide-tidemark-api-server"}
    assert {verb for rule in roles["tide-tidemark-api-server"] for verb in rule["verbs"]} == {"get", "list"}
    for rules in roles.values():
        assert not {"*", "secrets", "pods/exec"} & {r for rule in rules for r in rule["resources"] + rule["verbs"]}
    assert not of_kind(found, "ClusterRole", "ClusterRoleBinding")
    for binding in of_kind(found, "RoleBinding"):
        [subject] = binding["subjects"]
        assert subject["name"] == binding["roleRef"]["name"] in roles
        assert named(found, "ServiceAccount", subject["name"])["automountServiceAccountToken"] is False


_USERS = {"airflow", "canary", "jobs", "lander", "producer", "router", "serve", "speed"}


@pytest.mark.parametrize(
    ("component", "user"),
    [
        ("lander", "lander"),
        ("speed", "speed"),
        ("canary", "canary"),
        ("dashboard", "serve"),
        ("scheduler", "airflow"),
        ("console", "jobs"),
        ("job", "jobs"),
        ("test", "producer"),
    ],
)
def test_a_component_has_the_password_of_its_own_user_alone(component: str, user: str) -> None:
    [pod] = [p for p in pods(objects("tls")) if p.labels["app.kubernetes.io/component"] == component]
    names = {name for name, key in named_keys(pod) if key == "TIDEMARK_KAFKA_PASSWORD"}
    assert names == {f"tide-tidemark-kafka-{user}"}


def test_a_user_may_do_what_its_programs_do_and_no_more() -> None:
    data = named(objects("tls"), "ConfigMap", "tide-tidemark-rights")["data"]
    topics = ["plates", "shop"]
    read, write = {"read": topics, "write": []}, {"read": [], "write": topics}
    both = {"read": topics, "write": topics}
    assert {name.removesuffix(".json"): json.loads(text) for name, text in data.items()} == {
        **dict.fromkeys(("lander", "serve", "speed"), read),
        **dict.fromkeys(("canary", "producer"), write),
        **dict.fromkeys(("airflow", "jobs", "router"), both),
    }


def test_every_user_has_a_secret_and_only_provision_sees_them_all() -> None:
    found = objects("tls")
    secrets = {each["metadata"]["name"] for each in of_kind(found, "Secret")}
    users = {f"tide-tidemark-kafka-{user}" for user in _USERS}
    assert users <= secrets
    seers = {
        pod.labels["app.kubernetes.io/component"]
        for pod in pods(found)
        if len(users & {name for name, _ in named_keys(pod)}) > 1
    }
    assert seers == {"provision"}


def test_the_servers_key_is_read_by_servers_and_provision_alone() -> None:
    found = objects("tls")
    readers = {
        pod.labels["app.kubernetes.io/component"]
        for pod in pods(found)
        for name, key in named_keys(pod)
        if name == "tide-tidemark-tls" and key in (None, "tls.key")
    }
    assert readers == {"kafka", "minio", "store", "provision"}


def test_the_servers_certificate_holds_the_names_that_clients_ask_for() -> None:
    from cryptography import x509

    keys = plain(named(objects("tls"), "Secret", "tide-tidemark-tls"))
    certificate = x509.load_pem_x509_certificate(keys["tls.crt"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    hosts = set(names.get_values_for_type(x509.DNSName))
    asked = [named(objects("tls"), "ConfigMap", "tide-tidemark")["data"]]
    for variable in ("TIDEMARK_KAFKA_BOOTSTRAP", "TIDEMARK_S3_ENDPOINT"):
        host = asked[0][variable].removeprefix("https://").partition(":")[0]
        assert host in hosts
    assert {"tide-tidemark-store.lake.svc", "*.tide-tidemark-kafka-nodes.lake.svc"} <= hosts
    [name] = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    properties = named(objects("tls"), "ConfigMap", "tide-tidemark-kafka")["data"]["server.properties"]
    assert f"super.users=User:{name.value}\n" in properties
