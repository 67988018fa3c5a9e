"""The proof: recompute every view from raw with the plain kernel and compare with what serving gives, state for state.

Independent of marts, store, Spark and Beam on one side; through serving on the other. Nothing compared is a failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from lake.cuts import Cut, count, format_time, upper
from lake.domain import Domain
from lake.errors import MartDamaged, MissingCoverage, RawDamaged
from lake.kernel import COUNTS, QUARANTINE, Kernel
from lake.log import Log
from lake.raw import Raw, lies_between
from lake.raw_schema import RAW_SCHEMA
from lake.serving import Answer, Serving
from lake.settings import Settings

_ROWS_A_RUN = 250_000
_PARTS = 20
_EXAMPLES = 5


@dataclass
class ViewReport:
    """One view: rows compared, how many of them got something from either layer, and what differs."""

    view: str
    frontier: str
    cut: Cut
    head: Cut
    rows_compared: int
    from_batch: int
    from_speed: int
    mismatches: int
    examples: list[str]


@dataclass
class Report:
    """A verification; `problems` are sentences, and none of them means that every number is right as of the heads."""

    domain: str
    views: list[ViewReport] = field(default_factory=list)
    partitions: list[dict] = field(default_factory=list)
    raw_records: int = 0
    raw_gaps: int = 0
    raw_duplicates: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict:
        return {**asdict(self), "ok": self.ok}


def verify(settings: Settings, domain: Domain, serving: Serving | None = None) -> Report:
    """Compare everything served with a recompute from raw; what cannot be served at all is a problem, too.

    Raises NotSealed if raw does not come to the head, TidemarkError where raw or the log cannot be read at all.
    """
    serving = serving or Serving(settings, domain)
    report = Report(domain.name)
    try:
        pin = serving.pin()
        answers = {view: serving.merge(view, pin) for view in domain.stored_views}
    except (MartDamaged, MissingCoverage) as error:
        report.problems.append(str(error))
        return report
    quarantine = pin.marts[QUARANTINE]
    head = upper([a.head for a in answers.values()] + [quarantine.cut])
    raw = Raw(settings, domain)
    table = raw.await_positions(head, settings.verify_timeout_seconds)
    report.problems += _check_log(Log(settings, domain), raw.positions(table))
    recompute = _Recompute(domain, {**{v: a.head for v, a in answers.items()}, QUARANTINE: quarantine.cut})
    for rows in _readable(raw, table, report):
        recompute.add(rows)
    _check_raw(report, recompute, raw.positions(table), head)
    for view, answer in answers.items():
        report.views.append(_compare(answer, recompute.states(view)))
    served = serving.quarantine(pin)
    report.views.append(
        _compare(
            Answer(QUARANTINE, quarantine.frontier, quarantine.cut, quarantine.cut, None, served, served, served[:0]),
            recompute.states(QUARANTINE),
        )
    )
    report.problems += [f"{v.view}: {v.mismatches} rows differ: {v.examples[0]}" for v in report.views if v.mismatches]
    if not sum(v.rows_compared for v in report.views if v.view != QUARANTINE):
        report.problems.append("nothing was compared: no view has a row yet; produce events first")
    return report


class _Recompute:
    """States of each view below its head, from raw records in any order, and every offset seen."""

    def __init__(self, domain: Domain, heads: dict[str, Cut]) -> None:
        self._kernel = Kernel(domain)
        self._heads = heads
        self._distinct = [dict(head) for head in {tuple(sorted(head.items())) for head in heads.values()}]
        self._parts: dict[str, list[pa.Table]] = {name: [] for name in [*heads, COUNTS]}
        self.offsets = [RAW_SCHEMA.empty_table().select(["partition", "offset"])]

    def add(self, rows: pa.Table) -> None:
        """Parse once for all heads: a record's `below` has a bit for each head that it lies below."""
        self.offsets.append(rows.select(["partition", "offset"]))
        below = np.zeros(len(rows), np.int64)
        for bit, head in enumerate(self._distinct):
            below |= lies_between(rows, {}, head).to_numpy(zero_copy_only=False).astype(np.int64) << bit
        states = self._kernel.run(rows.append_column("below", pa.array(below)), by=("below",))
        for name, parts in self._parts.items():
            parts.append(self._below(states[name], name))
            if len(parts) > _PARTS:
                parts[:] = [self._kernel.merge(name, parts)]

    def _below(self, states: pa.Table, name: str) -> pa.Table:
        """The states of the records that count for `name`: those below its head, and all of them for the counts."""
        if name in self._heads:
            bit = self._distinct.index(self._heads[name])
            states = states.filter(pa.array(states["below"].to_numpy() >> bit & 1 == 1))
        return states.drop_columns(["below"])

    def states(self, name: str) -> pa.Table:
        return self._kernel.merge(name, self._parts[name])


def _readable(raw: Raw, table: DeltaTable, report: Report) -> Iterator[pa.Table]:
    """Raw's records in chunks of many files; a file that is lost is a problem, and verification goes on."""
    waiting: list[pa.Table] = []
    for file in raw.files(table):
        try:
            waiting.append(raw.read(file))
        except RawDamaged as error:
            report.problems.append(str(error))
        if sum(map(len, waiting)) >= _ROWS_A_RUN:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _check_raw(report: Report, recompute: _Recompute, positions: Cut, head: Cut) -> None:
    with duckdb.connect() as db:
        db.register("offsets", pa.concat_tables(recompute.offsets))
        found = db.execute(
            'SELECT "partition", count(*), count(DISTINCT "offset") FROM offsets GROUP BY "partition" ORDER BY 1'
        ).fetchall()
    counted = {row["partition"]: row for row in recompute.states(COUNTS).to_pylist()}
    seen = {partition: (records, distinct) for partition, records, distinct in found}
    for partition in sorted(positions.keys() | seen.keys()):
        records, distinct = seen.get(partition, (0, 0))
        held = positions.get(partition, 0)
        row = counted.get(partition, {"good": 0, "quarantined": 0, "markers": 0})
        kinds = {kind: row[kind] for kind in ("good", "quarantined", "markers")}
        report.partitions.append(
            {"partition": partition, "offsets": held, "records": records, **kinds, "head": head.get(partition, 0)}
        )
        report.raw_records += records
        report.raw_gaps += held - distinct
        report.raw_duplicates += records - distinct
        if sum(kinds.values()) != records:
            report.problems.append(f"partition {partition}: {records} records, but {kinds} were told apart")
    if report.raw_gaps:
        report.problems.append(f"raw has holes: {report.raw_gaps} of {count({}, positions)} offsets are missing")
    if report.raw_duplicates:
        report.problems.append(f"raw holds {report.raw_duplicates} records more than once")


def _check_log(log: Log, positions: Cut) -> list[str]:
    """Raw against Kafka, as far back as Kafka reaches."""
    begin, end = log.begin(), log.end()
    problems = []
    for partition, held in positions.items():
        if held > end.get(partition, 0):
            problems.append(
                f"partition {partition}: raw holds offsets up to {held}, the log ends at {end.get(partition, 0)}: "
                "the log was truncated or made anew"
            )
    for partition, first in begin.items():
        if positions.get(partition, 0) < first:
            problems.append(
                f"partition {partition}: Kafka begins at {first}, raw ends at {positions.get(partition, 0)}: "
                "what lies between is lost; retention is shorter than the lander's pause"
            )
    return problems


def _compare(answer: Answer, expected: pa.Table) -> ViewReport:
    served, examples, differing = answer.merged, [], 0
    if not served.equals(expected):
        keys = ", ".join(f'"{name}"' for name in expected.column_names)
        with duckdb.connect() as db:
            db.execute("SET TimeZone = 'UTC'")
            db.register("served", served)
            db.register("expected", expected)
            for what, one, other in (("served", "served", "expected"), ("from raw", "expected", "served")):
                rows = db.execute(f"SELECT {keys} FROM {one} EXCEPT ALL SELECT {keys} FROM {other}").fetchall()
                differing = max(differing, len(rows))
                examples += [f"{what}: {row}"[:300] for row in rows[:_EXAMPLES]]
    return ViewReport(
        view=answer.view,
        frontier=format_time(answer.frontier),
        cut=answer.cut,
        head=answer.head,
        rows_compared=max(len(served), len(expected)),
        from_batch=len(answer.batch),
        from_speed=len(answer.speed),
        mismatches=differing,
        examples=examples,
    )
