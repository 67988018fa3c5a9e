"""The shipped domains through Spark, and through the whole path: what is served equals a recompute from raw."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
import yaml

from jobs.build_mart import Build
from jobs.carry import carry, collect
from jobs.columns import spark_schema
from lake.cuts import from_ms, segment_start
from lake.domain import Domain, load_domain
from lake.kernel import Kernel
from lake.log import Log
from lake.raw import Raw
from lake.raw_schema import RAW_SCHEMA
from lake.seal import seal
from lake.serving import Serving
from lake.verify import verify
from lake.yaml_file import read_yaml
from streaming.events.stream import Shares
from streaming.produce import GENERATORS, EventProducer
from tests.conftest import Sandbox
from tests.domains.generated import generate
from tests.reference import DOMAINS

ROOT = Path(__file__).parents[2]
SEED = 1
SEGMENT_SECONDS = 2
SHARES = Shares(late=0.1, duplicates=0.1, malformed=0.05, conflicts=0.02)


@pytest.mark.parametrize("name", DOMAINS)
def test_invented_events_through_spark_give_the_states_of_the_kernel(spark, name):
    generated = generate(name, SEED)
    rows = generated.rows.select(RAW_SCHEMA.names)
    kernel = Kernel(generated.domain)
    frame = spark.createDataFrame(rows.to_pylist(), spark_schema(rows.schema)).repartition(3)
    parcels = carry(frame, generated.domain).persist()
    carried = {view: collect(parcels, view) for view in kernel.names}
    parcels.unpersist()
    states = kernel.run(rows)
    for view in kernel.names:
        merged = kernel.merge(view, carried[view])
        assert len(merged) == sum(map(len, carried[view])), f"{view}: a key came out in two parcels"
        assert merged.equals(states[view]), view


def test_all_shipped_domains_verify_while_dimensions_and_duplicates_come(shipped, spark, tmp_path):
    settings = shipped.sandbox.settings
    with shipped.running("streaming.land"), shipped.running("streaming.speed"):
        shipped.load_dimensions(1, tmp_path)
        time.sleep(SEGMENT_SECONDS)  # a version holds from the next segment on
        shipped.produce(1_500, seed=1)
        shipped.load_dimensions(2, tmp_path)
        shipped.produce(1_500, seed=2)
        t1 = from_ms(segment_start(time.time_ns() // 1_000_000, SEGMENT_SECONDS) + SEGMENT_SECONDS * 1000)
        for domain in shipped.domains.values():
            seal(settings, domain, t1)
        shipped.produce(1_500, seed=3)
        for domain in shipped.domains.values():
            build = Build(settings, domain, t1, print)
            build.run(None, None)
            assert not build.refused
        shipped.await_heads()
    for name, domain in shipped.domains.items():
        report = verify(settings, domain)
        assert report.ok, (name, report.problems)
        for view in report.views:
            assert view.rows_compared > 0 and view.from_batch > 0, (name, view)
        assert any(view.from_speed for view in report.views)
        if domain.dedup:
            assert sum(partition["duplicates"] for partition in report.partitions) > 100


@dataclass
class Shipped:
    """All shipped domains under names of their own in one bucket."""

    sandbox: Sandbox
    domains: dict[str, Domain]

    @contextmanager
    def running(self, module: str) -> Iterator[None]:
        """One process of the platform for all domains, killed in the end."""
        options = [part for domain in self.domains.values() for part in ("--domain", domain.name)]
        process = subprocess.Popen(
            [sys.executable, "-m", module, *options], cwd=ROOT, env=self.sandbox.environment, start_new_session=True
        )
        try:
            yield
            assert process.poll() is None, f"{module} ended"
        finally:
            process.terminate()
            process.wait(60)

    def produce(self, count: int, seed: int) -> None:
        """So many events of each domain, spread over three hours."""
        for name, domain in self.domains.items():
            producer = EventProducer(self.sandbox.settings, domain.topic)
            records = GENERATORS[name](seed, SHARES, lambda: time.time_ns() // 1_000_000, 3 * 3_600_000)
            for record in islice(records, count):
                producer.send(*record)
            producer.close()

    def load_dimensions(self, version: int, folder: Path) -> None:
        for name in ("users", "watchlist"):
            file = folder / f"{name}-{version}.csv"
            self._run("streaming.events.dimension", name, "--version", str(version), "--output", str(file))
            self._run("lake.cli", "dimension", "load", name, str(file))

    def await_heads(self) -> None:
        """Until every view of every domain counts the whole log, and raw holds it."""
        deadline = time.monotonic() + 120
        for domain in self.domains.values():
            end = Log(self.sandbox.settings, domain).end()
            Raw(self.sandbox.settings, domain).await_positions(end, 120)
            serving = Serving(self.sandbox.settings, domain)
            while any(serving.answer(view).head != end for view in domain.views):
                assert time.monotonic() < deadline, f"{domain.name} does not come to the head {end}"
                time.sleep(0.2)

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, env=self.sandbox.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture
def shipped(make_sandbox) -> Shipped:
    sandbox = make_sandbox("shop", 2, segment_seconds=SEGMENT_SECONDS, land_interval_seconds=0.5)
    unique, folder = sandbox.domain.name.partition("_")[2], sandbox.settings.domains_dir
    domains = {"shop": sandbox.domain}
    for name in sorted(DOMAINS.keys() - {"shop"}):
        own = f"{name}_{unique}"
        declared = read_yaml((ROOT / "lake" / "domains" / f"{name}.yaml").read_text()).data
        declared |= {"domain": own, "topic": own, "partitions": 2}
        (folder / f"{own}.yaml").write_text(yaml.safe_dump(declared))
        domains[name] = load_domain(own, folder)
        Log(sandbox.settings, domains[name]).create_topic()
    return Shipped(sandbox, domains)
