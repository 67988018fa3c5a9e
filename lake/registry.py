"""The registry: every accepted version of a domain, and which of them is live. The YAML file is only the wish.

Invariant: versions are numbered from 1 without a hole and never change; the last one promoted is live. A change is a
row of `registry/<domain>`, committed only on the history that it was decided on, so of two changes at once the later
one looks again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

import pyarrow as pa
import yaml
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError

from lake.compatibility import check_compatible
from lake.domain import Domain, load_domain, load_domains, read_domain
from lake.errors import TidemarkError
from lake.kernel import Kernel
from lake.settings import Settings
from lake.tables import data_files, open_table, read_file

DECLARED, BUILT, PROMOTED = "declared", "built", "promoted"
SCHEMA = pa.schema(
    [
        ("change", pa.int64()),
        ("version", pa.int64()),
        ("action", pa.string()),
        ("time", pa.timestamp("us", "UTC")),
        ("content", pa.string()),
    ]
)
_TRANSACTION = "tidemark-registry"
_TRIES = 10


@dataclass(frozen=True)
class Version:
    """One accepted content of a domain file, as canonical YAML: comments and short forms are not kept."""

    name: str
    number: int
    content: str = field(repr=False)
    declared: datetime
    built: bool = False
    """Whether its marts have come as far as the live version's had when it was declared."""
    promoted: datetime | None = None
    """When it became live, the last time that it did; None if it never was."""

    @property
    def domain(self) -> Domain:
        return _read(self.content, f"registry/{self.name}, version {self.number}", self.name)


@dataclass(frozen=True)
class History:
    """All versions of a domain, oldest first, and the numbers of those that were promoted, in that order."""

    changes: int
    versions: tuple[Version, ...]
    promotions: tuple[int, ...]

    @property
    def live(self) -> Version | None:
        return self.version(self.promotions[-1]) if self.promotions else None

    @property
    def newest(self) -> Version | None:
        return self.versions[-1] if self.versions else None

    def version(self, number: int) -> Version:
        if not 1 <= number <= len(self.versions):
            raise TidemarkError(f"there is no version {number}; there are {len(self.versions)}")
        return self.versions[number - 1]

    def running(self, now: datetime, grace_seconds: float) -> list[Version]:
        """What the speed layer keeps: live first, a newer one whose marts are built, the one that was live just now."""
        live, newest = self.live, self.newest
        if live is None or newest is None:
            return []
        found = [live]
        if newest.built and newest.number > live.number:
            found.append(newest)
        before = [number for number in self.promotions if number != live.number]
        if before and live.promoted and (now - live.promoted).total_seconds() < grace_seconds:
            found.append(self.version(before[-1]))
        return found


class Registry:
    """The registry of all domains."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rows: dict[str, pa.Table] = {}

    def history(self, name: str) -> History:
        """The domain's versions as they are now; none if it was never declared."""
        table = open_table(self._settings, self._uri(name))
        return self._read(name, table) if table else History(0, (), ())

    def live(self, name: str) -> Version | None:
        return self.history(name).live

    def newest(self, name: str) -> Version | None:
        return self.history(name).newest

    def declare(self, domain: Domain) -> Version:
        """Accept the domain as its newest version, unless it is that already.

        The first version is live at once, and so is one that keeps every stored state of the live one as it is.
        Raises BadDomain, naming each field, if old events could not be read by it as they were.
        """

        def decide(history: History) -> list[dict]:
            if history.newest and history.newest.domain == domain:
                return []
            check_compatible(domain, [v.domain for v in history.versions if v.promoted])
            declared = {"version": len(history.versions) + 1, "action": DECLARED, "content": written(domain)}
            at_once = history.live is None or self.same_states(history.live.domain, domain)
            return [declared, {**declared, "action": PROMOTED, "content": None}] if at_once else [declared]

        self._kernel(domain)  # what cannot be compiled is not accepted
        version = self._change(domain.name, decide).newest
        assert version is not None
        return version

    def built(self, name: str, number: int) -> None:
        """Note that a version's marts are built: the speed layer may compute it from their frontier on."""
        self._change(name, lambda h: [] if h.version(number).built else [{"version": number, "action": BUILT}])

    def promote(self, name: str, number: int) -> None:
        """Make a version the live one, in one commit. Raises TidemarkError if a newer one was declared meanwhile."""

        def decide(history: History) -> list[dict]:
            if history.live == history.version(number):
                return []
            if number != len(history.versions):
                raise TidemarkError(
                    f"version {number} of '{name}' is not promoted: version {len(history.versions)} was declared "
                    f"since; run `tidemark redefine {name}` for that one"
                )
            return [{"version": number, "action": PROMOTED}]

        self._change(name, decide)

    def same_states(self, one: Domain, other: Domain) -> bool:
        """Whether both keep the same states of the same views, so that one's marts and speed states serve the other."""
        seconds = self._settings.segment_seconds
        return self._kernel(one).generation(seconds) == self._kernel(other).generation(seconds)

    def _change(self, name: str, decide: Callable[[History], list[dict]]) -> History:
        """Append the rows that `decide` wants on this history; where it wants none, what it wants is there.

        A commit that failed may have landed although its reply was lost: then the next look finds it.
        """
        failure: Exception | None = None
        for _ in range(_TRIES):
            table = self._create(name)
            history = self._read(name, table)
            wanted = decide(history)
            if not wanted:
                return history
            now = datetime.now(UTC)
            rows = [{"change": history.changes + n, "time": now, **row} for n, row in enumerate(wanted)]
            try:
                self._append(table, pa.Table.from_pylist(rows, schema=SCHEMA))
            except (DeltaError, OSError) as error:
                failure = error
                continue
            return self.history(name)
        raise TidemarkError(f"registry/{name}: {_TRIES} commits in a row did not succeed ({failure}); try again")

    def _append(self, table: DeltaTable, rows: pa.Table) -> None:
        """From `table`: a commit by anybody since it was read makes this one fail."""
        transaction = Transaction(_TRANSACTION, rows["change"][-1].as_py())
        write_deltalake(table, rows, mode="append", commit_properties=CommitProperties(app_transactions=[transaction]))

    def _create(self, name: str) -> DeltaTable:
        uri, options = self._uri(name), self._settings.storage_options()
        return DeltaTable.create(uri, SCHEMA, mode="ignore", storage_options=options)

    def _read(self, name: str, table: DeltaTable) -> History:
        versions: dict[int, dict] = {}
        promotions = []
        rows = sorted((row for t in self._tables(table) for row in t.to_pylist()), key=lambda row: row["change"])
        for row in rows:
            number, time = row["version"], row["time"]
            if row["action"] == DECLARED:
                versions[number] = {"name": name, "number": number, "content": row["content"], "declared": time}
            elif row["action"] == BUILT:
                versions[number]["built"] = True
            else:
                versions[number]["promoted"] = time
                promotions.append(number)
        return History(len(rows), tuple(Version(**fields) for fields in versions.values()), tuple(promotions))

    def _tables(self, table: DeltaTable) -> list[pa.Table]:
        """The table's files; each is read once and kept, since a file never changes."""
        uri = table.table_uri.rstrip("/")
        paths = [file["path"] for file in data_files(table)]
        for path in paths:
            key = f"{uri}/{path}"
            if key not in self._rows:
                self._rows[key] = read_file(self._settings, uri, path, None)
        return [self._rows[f"{uri}/{path}"] for path in paths]

    def _uri(self, name: str) -> str:
        return self._settings.table_uri("registry", name)

    def _kernel(self, domain: Domain) -> Kernel:
        return Kernel(domain)


def written(domain: Domain) -> str:
    """The domain as YAML, which reads back as the same domain."""
    content = domain.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


@lru_cache(maxsize=256)
def _read(content: str, place: str, name: str) -> Domain:
    """Reading compiles every view, and who follows the registry asks again and again."""
    return read_domain(yaml.safe_load(content), place, name)


def live_domain(settings: Settings, name: str) -> Domain:
    """The domain as it is live; what its file says, if it was never declared."""
    live = Registry(settings).live(name)
    return live.domain if live else load_domain(name, settings.domains_dir)


def live_domains(settings: Settings) -> dict[str, Domain]:
    """Every domain that has a file and runs (TIDEMARK_DOMAINS), by name, each as it is live."""
    registry, files = Registry(settings), load_domains(settings.domains_dir)
    found = {name: registry.live(name) for name in files if settings.runs(name)}
    return {name: live.domain if live else files[name] for name, live in found.items()}
