"""The SQL prompt: every view as a table of merged values, and what it was merged from.

    revenue_by_country_hour          merged values, batch and speed together
    marts.revenue_by_country_hour    the same of the batch layer alone, up to the frontier
    speed.revenue_by_country_hour    the same of the speed layer alone, from the frontier to the head
    raw.shop                         every record as received
    quarantine.shop                  the bad ones before the frontier, with a reason
    external.prices                  the newest version of what a person brought in; "prices@2" is the second
    catalog.columns                  what each column is, its unit and lineage; catalog.views, .domains, .dimensions

Only what a query asks for is computed, and only when it is asked: of views the rows, of other tables those that it
names. A query about tables (duckdb_columns(), information_schema, SHOW) finds all of them, with the catalogue as
comments; those that it does not name are empty.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from lake.catalogue import OWN_COLUMNS, RECORD_COLUMNS, Catalogue
from lake.domain import Domain
from lake.errors import TidemarkError
from lake.expressions import nearest
from lake.external import External
from lake.kernel import NO_SHARING
from lake.live import LiveServing
from lake.measures import MACROS
from lake.merged import LAYERS, MergedTables
from lake.raw import Raw
from lake.serving import COPIES, Serving
from lake.settings import Settings

_CATALOGUE = ("domains", "dimensions", "views", "columns")
_SCHEMAS = ("marts", "speed", "raw", "quarantine", "external", "catalog")
_TEXT = re.compile(r"'(?:[^']|'')*'")
_WORD = re.compile(r"[\w.]+")
_EXTERNAL = re.compile(r"\bexternal\.\w+(?:@\d+)?")
_ABOUT_TABLES = re.compile(r"\b(duckdb_\w+|information_schema|show|pg_catalog|sqlite_master)\b", re.IGNORECASE)
_READING = ([duckdb.StatementType.SELECT], [duckdb.StatementType.EXPLAIN])
_TOLD_OF_LAYERS = {
    "": "",
    "marts.": "the batch layer alone, up to the frontier",
    "speed.": "the speed layer alone, from there",
}


class Prompt:
    """Answers SQL over all domains, also several threads at once.

    One statement sees a domain's views at one moment, and merged, marts and speed agree. They are DuckDB's views in one
    database, where a person's statement may only read; one that asks for more is asked of a copy.
    """

    def __init__(self, settings: Settings, domains: dict[str, Domain]) -> None:
        self._settings = settings
        self._domains = dict(domains)
        self._servings: dict[str, LiveServing] = {}
        self._external = External(settings)
        self._merged: dict[str, MergedTables] = {}
        self._number = 0
        self._lock = threading.Lock()
        self._db = _database(settings.home / COPIES)
        self._catalogued: tuple[list[Domain], Catalogue] | None = None

    @property
    def _owners(self) -> dict[str, str]:
        return {view: domain.name for domain in self._domains.values() for view in domain.views}

    @property
    def tables(self) -> list[str]:
        """Every name a query may use, but for external data, which is in the lake (`tidemark external list`)."""
        views = [f"{schema}{view}" for view in self._owners for schema in LAYERS]
        records = [f"{schema}.{domain}" for domain in self._domains for schema in ("raw", "quarantine")]
        return views + records + [f"catalog.{name}" for name in _CATALOGUE]

    def query(self, statement: str) -> pa.Table:
        """The rows of a SELECT. Raises TidemarkError with what is wrong with the statement."""
        named = self._named(statement)
        views = [name for name in named if self._owner(name)]
        with _told(self.tables):
            parsed = duckdb.extract_statements(statement)
        kinds = [each.type for each in parsed]
        alone = views == named and kinds in _READING and not _ABOUT_TABLES.search(statement)
        with self._reading(views, alone) as merged, _told(self.tables):
            if alone:
                return merged.execute(parsed[0]).to_arrow_table()  # `sql` would plan it twice
            return self._query_copied(statement, named, merged)

    def _query_copied(self, statement: str, named: list[str], merged: duckdb.DuckDBPyConnection) -> pa.Table:
        """In a database of its own, which may be told anything."""
        with duckdb.connect() as db:
            db.execute("SET TimeZone = 'UTC'")
            for schema in _SCHEMAS:
                db.execute(f"CREATE SCHEMA {schema}")
            for name in named:
                _create(db, name, merged.table(name).to_arrow_table() if self._owner(name) else self._table(name))
            if _ABOUT_TABLES.search(statement):
                for name in self.tables:
                    if name not in named:
                        _create(db, name, self._empty(name))
                for comment in self._comments():
                    db.execute(comment)
            # Tables are copied in by now; a query has no business with this machine's files.
            db.execute("SET enable_external_access = false")
            return db.sql(statement).to_arrow_table()

    @contextmanager
    def _reading(self, names: list[str], alone: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that sees all domains' views that are named, each domain at one moment.

        `alone`: for one statement. What it sees is a moment's by itself, and a transaction around it costs as much as
        a tenth of a small one.
        """
        with self._lock:
            for domain in self._servings:
                self.serving(domain)  # another version of it may be live by now, with other views
            views: dict[str, set[str]] = {}
            for name in names:
                if owner := self._owner(name):
                    views.setdefault(owner, set()).add(name.rpartition(".")[2])
            for domain, wanted in views.items():
                self._tables_of(domain).bring(wanted)
            cursor = self._db.cursor()
            if not alone:
                cursor.execute("BEGIN")
                cursor.execute("SELECT count(*) FROM moment").fetchall()  # the transaction's moment is now
        try:
            yield cursor
        finally:
            cursor.close()

    def _tables_of(self, domain: str) -> MergedTables:
        serving, tables = self.serving(domain), self._merged.get(domain)
        if tables is None or tables.serving is not serving:
            self._number += 1
            tables = MergedTables(self._db, serving, f"{domain} {self._number}", before=tables)
            self._merged[domain] = tables
        return tables

    def _owner(self, name: str) -> str | None:
        """The domain of a view, also as one layer's; None for other tables."""
        schema, dot, view = name.rpartition(".")
        return self._owners.get(view) if schema + dot in LAYERS else None

    def serving(self, domain: str) -> Serving:
        """The domain's serving, kept between statements; another one after another version was promoted."""
        if domain not in self._servings:
            if domain not in self._domains:
                raise TidemarkError(f"no domain '{domain}'; {nearest(domain, self._domains)}")
            self._servings[domain] = LiveServing(self._settings, self._domains[domain])
        serving = self._servings[domain].now()
        self._domains[domain] = serving.domain
        return serving

    @property
    def catalogue(self) -> Catalogue:
        """What there is to ask now; made when it is asked for, and again when another version is live."""
        domains = list(self._domains.values())
        if self._catalogued is None or self._catalogued[0] != domains:
            self._catalogued = domains, Catalogue(domains)
        return self._catalogued[1]

    def _named(self, statement: str) -> list[str]:
        """The tables that a statement mentions; one too many, in a comment say, only costs its computing."""
        text = _TEXT.sub("", statement).replace('"', "").lower()
        words = set(_WORD.findall(text))
        return [name for name in self.tables if name in words] + sorted(set(_EXTERNAL.findall(text)))

    def _table(self, name: str) -> pa.Table:
        schema, _, table = name.rpartition(".")
        match schema:
            case "raw":
                return self._raw(table)
            case "quarantine":
                serving = self.serving(table)
                return serving.quarantine(serving.pin())
            case "catalog":
                return self.catalogue.tables()[table]
            case "external":
                bare, _, version = table.partition("@")
                return self._external.table(bare, int(version) if version else None)
        raise TidemarkError(f"no table '{name}'")

    def _empty(self, name: str) -> pa.Table:
        """The table without its rows; nothing but the definitions is asked for it."""
        schema, _, table = name.rpartition(".")
        if schema == "catalog":
            return self.catalogue.tables()[table].slice(0, 0)
        schemas = self.catalogue.schemas
        return schemas[name if name in schemas else table].empty_table()

    def _raw(self, domain: str) -> pa.Table:
        raw = Raw(self._settings, self._domains[domain])
        table = raw.table()
        return pa.concat_tables(raw.scan({}, raw.positions(table), table))

    def _comments(self) -> Iterator[str]:
        """COMMENT statements for all tables, from the catalogue."""
        for name, domain in self._domains.items():
            yield _comment("TABLE", f"raw.{name}", f"every record of topic {domain.topic} as received")
            yield _comment("TABLE", f"quarantine.{name}", "records that are no valid events, with the reason")
            for table in (f"raw.{name}", f"quarantine.{name}"):
                yield from _column_comments(table, self.catalogue.schemas[table].names, RECORD_COLUMNS)
        for name, table in self.catalogue.tables().items():
            yield _comment("TABLE", f"catalog.{name}", f"all {name} there are")
            yield from _column_comments(f"catalog.{name}", table.column_names, OWN_COLUMNS)
        for view in self._owners:
            entry = self.catalogue.entry(view)
            owner = f"owner: {entry.owner}" if entry.owner else ""
            for schema, layer in _TOLD_OF_LAYERS.items():
                told = "; ".join(part for part in (entry.description, layer, owner) if part)
                yield _comment("TABLE", schema + view, told)
                comments = {column.name: column.comment for column in entry.columns}
                yield from _column_comments(schema + view, list(comments), comments)


@contextmanager
def _told(tables: list[str]) -> Iterator[None]:
    """Raises TidemarkError for what DuckDB says of a person's statement."""
    try:
        yield
    except duckdb.CatalogException as error:
        raise TidemarkError(f"{error}\ntables: {', '.join(tables)}") from None
    except (duckdb.Error, AttributeError) as error:
        raise TidemarkError(f"this is not a query that returns rows: {error}") from None


def _database(readable: Path) -> duckdb.DuckDBPyConnection:
    """Where merged views are: what it is asked cannot reach this machine's files, or change a setting."""
    db = duckdb.connect(config={"threads": 2, "memory_limit": "2GB"})
    db.execute("SET GLOBAL TimeZone = 'UTC'")
    db.execute(MACROS)
    for schema in _SCHEMAS:
        db.execute(f"CREATE SCHEMA {schema}")
    db.execute("CREATE TABLE moment (seen BIGINT)")
    db.execute(NO_SHARING)
    db.execute(f"SET temp_directory = '{readable}/spilled'")
    db.execute(f"SET allowed_directories = ['{readable}']")
    db.execute("SET enable_external_access = false")
    db.execute("SET lock_configuration = true")
    return db


def _create(db: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    schema, dot, table = name.rpartition(".")
    db.register("arriving", rows)
    db.execute(f'CREATE TABLE {schema}{dot}"{table}" AS SELECT * FROM arriving')
    db.unregister("arriving")


def _column_comments(table: str, columns: Iterable[str], comments: Mapping[str, str]) -> Iterator[str]:
    for column in columns:
        yield _comment("COLUMN", f'{table}."{column}"', comments[column])


def _comment(kind: str, name: str, text: str) -> str:
    quoted = text.replace("'", "''")
    return f"COMMENT ON {kind} {name} IS '{quoted}'"
