"""A speed job in front of a Flink cluster: exact, and never two of its Flink jobs at once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lake.errors import BadSettings
from streaming.child import child, free_port
from streaming.flink_cluster import FlinkCluster
from tests.streaming.kept import assert_equal, heads
from tests.streaming.processes import family, has_ended
from tests.streaming.test_runner_contract import end_of, is_worker

SLOTS = 2
_FLINK = "org.apache.flink.runtime"
_MEMORY = {
    "taskmanager.cpu.cores": "1.0",
    "taskmanager.memory.task.heap.size": "256m",
    "taskmanager.memory.task.off-heap.size": "64m",
    "taskmanager.memory.managed.size": "32m",
    "taskmanager.memory.network.min": "64m",
    "taskmanager.memory.network.max": "64m",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "64m",
    "taskmanager.memory.jvm-overhead.max": "64m",
}


@pytest.fixture(scope="module")
def cluster(runners, settings, make_sandbox, tmp_path_factory) -> Iterator[tuple]:
    """A sandbox, and the address of a cluster of one TaskManager whose workers work in it."""
    folder, port, rpc = tmp_path_factory.mktemp("flink"), free_port(), free_port()
    sandbox = make_sandbox(segment_seconds=1, runner="flink", flink_master=f"127.0.0.1:{port}")
    configuration = {
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": rpc,
        "jobmanager.bind-host": "127.0.0.1",
        "taskmanager.host": "127.0.0.1",
        "taskmanager.bind-host": "127.0.0.1",
        "taskmanager.numberOfTaskSlots": SLOTS,
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.port": port,
        "restart-strategy.type": "none",
        "io.tmp.dirs": folder,
        **_MEMORY,
    }
    (folder / "flink-conf.yaml").write_text("".join(f"{name}: {value}\n" for name, value in configuration.items()))
    java = ["java", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    java += ["-Dorg.slf4j.simpleLogger.log.org.apache.beam.runners.fnexecution.environment.ProcessManager=debug"]
    java += ["-cp", f"{settings.flink_jars_dir}/*"]
    master = [*java, f"{_FLINK}.entrypoint.StandaloneSessionClusterEntrypoint", "--configDir", str(folder)]
    manager = [*java, f"{_FLINK}.taskexecutor.TaskManagerRunner", "--configDir", str(folder)]
    with ExitStack() as stack:
        stack.enter_context(child("Flink's JobManager", master, port, sandbox.environment))
        process = subprocess.Popen(manager, env=sandbox.environment)
        stack.callback(process.wait)
        stack.callback(process.kill)
        yield sandbox, FlinkCluster(f"127.0.0.1:{port}")


def test_on_a_cluster_the_job_is_exact_and_a_killed_ones_successor_ends_what_it_left(
    cluster, send, workers, until, speed_store, expected
):
    sandbox, flink = cluster
    store, name = speed_store(sandbox), f"tidemark-speed-{sandbox.domain.name}"

    def goes_on(seed: int) -> None:
        send(sandbox, 2_000, seed)
        end = end_of(sandbox)
        until(lambda: heads(store) == end)
        assert_equal(store, expected(sandbox))

    options = ("--groups", "3", "--workers", str(SLOTS))
    killed = workers.start("streaming.speed", sandbox, *options)
    goes_on(seed=1)
    [left] = flink.running(name)
    assert not any(map(is_worker, family(killed.pid))), "workers belong to the cluster"
    killed.kill()
    killed.wait()
    goes_on(seed=2)
    assert flink.running(name) == [left]
    successor = workers.start("streaming.speed", sandbox, *options)
    until(lambda: flink.running(name) not in ([], [left]))
    assert len(flink.running(name)) == 1
    goes_on(seed=3)
    children = family(successor.pid)
    successor.terminate()
    assert successor.wait(60) == 0
    assert flink.running(name) == []
    until(lambda: all(map(has_ended, children)), 10)


def test_where_no_cluster_answers_the_setting_is_named():
    with pytest.raises(BadSettings, match=r"TIDEMARK_FLINK_MASTER=127.0.0.1:1: expected the host:port of a Flink"):
        FlinkCluster("127.0.0.1:1").running("job")
