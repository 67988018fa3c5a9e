"""Whatever selects pods selects those it is meant for, and no others."""

from __future__ import annotations

import pytest

from tests.helm.chart import CASES, matches, objects, of_kind, pods

_PORTLESS = {"migrate", "provision", "producer", "dag-processor", "worker", "console", "test"}


def component(labels: dict[str, str]) -> str:
    return labels["app.kubernetes.io/component"]


@pytest.mark.parametrize("case", CASES)
def test_a_controller_selects_its_own_pods_alone(case: str) -> None:
    found = objects(case)
    controllers = of_kind(found, "Deployment", "StatefulSet")
    assert len(controllers) > 8
    for each in controllers:
        selected = [pod.owner for pod in pods(found) if matches(each["spec"]["selector"], pod.labels)]
        assert selected == [f"{each['kind']}/{each['metadata']['name']}"]


@pytest.mark.parametrize("case", CASES)
def test_a_service_leads_to_ports_that_its_pods_have(case: str) -> None:
    found = objects(case)
    services = of_kind(found, "Service")
    assert len(services) > 3
    for service in services:
        chosen = [pod for pod in pods(found) if service["spec"]["selector"].items() <= pod.labels.items()]
        assert chosen, service["metadata"]["name"]
        for pod in chosen:
            names = {port["name"] for container in pod.containers for port in container.get("ports", [])}
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= names, pod.owner


@pytest.mark.parametrize("case", CASES)
def test_a_stateful_sets_service_is_there(case: str) -> None:
    found = objects(case)
    services = {each["metadata"]["name"]: each for each in of_kind(found, "Service")}
    for each in of_kind(found, "StatefulSet"):
        service = services[each["spec"]["serviceName"]]
        assert service["spec"]["selector"].items() <= each["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("case", CASES)
def test_a_disruption_budget_is_of_one_controllers_pods(case: str) -> None:
    found = objects(case)
    budgets = of_kind(found, "PodDisruptionBudget")
    assert len(budgets) > 4
    for each in budgets:
        selected = [pod.owner for pod in pods(found) if matches(each["spec"]["selector"], pod.labels)]
        assert len(selected) == 1, each["metadata"]["name"]
        assert each["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("case", sorted(set(CASES) - {"without-extras"}))
def test_every_pod_is_reached_by_its_own_rule_alone(case: str) -> None:
    found = objects(case)
    policies = of_kind(found, "NetworkPolicy")
    for pod in pods(found):
        chosen = [each for each in policies if matches(each["spec"]["podSelector"], pod.labels)]
        assert len(chosen) == 1, pod.owner
        assert chosen[0]["spec"]["policyTypes"] == ["Ingress", "Egress"]
        if component(pod.labels) in _PORTLESS:
            assert chosen[0]["spec"]["ingress"] == [], pod.owner


@pytest.mark.parametrize("case", sorted(set(CASES) - {"without-extras"}))
def test_a_policy_opens_ports_that_its_pods_have(case: str) -> None:
    found = objects(case)
    for policy in of_kind(found, "NetworkPolicy"):
        [*chosen] = [pod for pod in pods(found) if matches(policy["spec"]["podSelector"], pod.labels)]
        assert chosen, policy["metadata"]["name"]
        opened = {port["port"] for rule in policy["spec"]["ingress"] for port in rule.get("ports", [])}
        for pod in chosen:
            assert opened <= {port["containerPort"] for c in pod.containers for port in c.get("ports", [])}, pod.owner


def reached(found: list, server: str, port: int, client: dict[str, str]) -> bool:
    """Whether policies let a client with these labels, in the release's namespace, reach a component's port."""
    [pod] = [pod for pod in pods(found) if component(dict(pod.labels)) == server]
    [policy] = [p for p in of_kind(found, "NetworkPolicy") if matches(p["spec"]["podSelector"], pod.labels)]
    return any(
        matches(peer.get("podSelector", {}), client)
        for rule in policy["spec"]["ingress"]
        if port in [each["port"] for each in rule["ports"]]
        for peer in rule["from"]
        if "podSelector" in peer
    )


@pytest.mark.parametrize(
    ("server", "port", "clients"),
    [
        (
            "kafka",
            9092,
            {
                "lander",
                "console",
                "test",
                "speed",
                "router",
                "canary",
                "producer",
                "provision",
                "dashboard",
                "scheduler",
            },
        ),
        ("kafka", 9093, {"kafka"}),
        (
            "minio",
            9000,
            {
                "lander",
                "speed",
                "router",
                "canary",
                "provision",
                "dashboard",
                "scheduler",
                "dag-processor",
                "console",
                "test",
            },
        ),
        (
            "store",
            6379,
            {"speed", "console", "test", "canary", "dashboard", "lander", "router", "provision", "scheduler"},
        ),
        ("postgres", 5432, {"api-server", "scheduler", "dag-processor", "triggerer", "migrate"}),
        ("scheduler", 8793, {"api-server"}),
    ],
)
def test_a_server_is_reached_by_its_clients_and_by_nobody_else(server: str, port: int, clients: set[str]) -> None:
    found = objects("routed")
    labels = {component(dict(pod.labels)): dict(pod.labels) for pod in pods(found)}
    apart = {server, "job", "executor"}
    assert {name for name in labels.keys() - apart if reached(found, server, port, labels[name])} == clients - apart
    stranger = {"app.kubernetes.io/component": "lander", "app.kubernetes.io/instance": "another"}
    assert not reached(found, server, port, stranger)


_NAMES = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def left(case: str) -> dict[str, list]:
    """Where each component's pods may go, beside asking for names."""
    found = objects(case)
    policies = {
        pod.owner: (pod, p)
        for pod in pods(found)
        for p in of_kind(found, "NetworkPolicy")
        if matches(p["spec"]["podSelector"], pod.labels)
    }
    assert all(_NAMES in policy["spec"]["egress"] for _, policy in policies.values())
    return {
        component(pod.labels): [rule for rule in policy["spec"]["egress"] if rule != _NAMES]
        for pod, policy in policies.values()
    }


@pytest.mark.parametrize("case", ["default", "narrow"])
def test_a_server_goes_nowhere_but_to_others_of_its_kind(case: str) -> None:
    rules = left(case)
    assert rules["store"] == rules["postgres"] == []
    for server in ("kafka", "minio"):
        [rule] = rules[server]
        assert [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rule["to"]] == [server]


def test_who_is_no_server_goes_everywhere_unless_told_where_to() -> None:
    servers = {"store", "postgres", "kafka", "minio"}
    assert all(rules == [{}] for name, rules in left("default").items() if name not in servers)
    release, elsewhere = {"app.kubernetes.io/instance": "tide"}, {"ipBlock": {"cidr": "192.0.2.0/24"}}
    told = {name: rules for name, rules in left("narrow").items() if name not in servers}
    assert {"job", "executor", "lander", "scheduler"} <= told.keys()
    assert all(rules == [{"to": [{"podSelector": {"matchLabels": release}}, elsewhere]}] for rules in told.values())
