"""The SQL prompt: every view as a table of merged values, and what it was merged from.

    revenue_by_country_hour          merged values, batch and speed together
    marts.revenue_by_country_hour    the same of the batch layer alone, up to the frontier
    speed.revenue_by_country_hour    the same of the speed layer alone, from the frontier to the head
    raw.shop                         every record as received
    quarantine.shop                  the bad ones before the frontier, with a reason

Only the tables that a query names are computed, and only when it is asked.
"""

from __future__ import annotations

import re

import duckdb
import pyarrow as pa

from lake.domain import Domain
from lake.errors import TidemarkError
from lake.expressions import nearest
from lake.live import LiveServing
from lake.raw import Raw
from lake.serving import Answer, Serving
from lake.settings import Settings


class Prompt:
    """Answers SQL over all domains. One statement sees a view at one moment: merged, marts and speed agree."""

    def __init__(self, settings: Settings, domains: dict[str, Domain]) -> None:
        self._settings = settings
        self._domains = dict(domains)
        self._servings: dict[str, LiveServing] = {}

    @property
    def _owners(self) -> dict[str, str]:
        return {view: domain.name for domain in self._domains.values() for view in domain.views}

    @property
    def tables(self) -> list[str]:
        """Every name a query may use."""
        views = [f"{schema}{view}" for view in self._owners for schema in ("", "marts.", "speed.")]
        return views + [f"{schema}.{domain}" for domain in self._domains for schema in ("raw", "quarantine")]

    def query(self, statement: str) -> pa.Table:
        """The rows of a SELECT. Raises TidemarkError with what is wrong with the statement."""
        for domain in self._servings:
            self.serving(domain)  # another version of it may be live by now, with other views
        with duckdb.connect() as db:
            db.execute("SET TimeZone = 'UTC'")
            for schema in ("marts", "speed", "raw", "quarantine"):
                db.execute(f"CREATE SCHEMA {schema}")
            try:
                answers: dict[str, tuple[Serving, Answer]] = {}
                for name in self._named(statement):
                    db.register("arriving", self._table(name, answers))
                    db.execute(f"CREATE TABLE {name} AS SELECT * FROM arriving")
                    db.unregister("arriving")
                # Tables are copied in by now; a query has no business with this machine's files.
                db.execute("SET enable_external_access = false")
                return db.sql(statement).to_arrow_table()
            except duckdb.CatalogException as error:
                raise TidemarkError(f"{error}\ntables: {', '.join(self.tables)}") from None
            except (duckdb.Error, AttributeError) as error:
                raise TidemarkError(f"this is not a query that returns rows: {error}") from None

    def serving(self, domain: str) -> Serving:
        """The domain's serving, kept between statements; another one after another version was promoted."""
        if domain not in self._servings:
            if domain not in self._domains:
                raise TidemarkError(f"no domain '{domain}'; {nearest(domain, self._domains)}")
            self._servings[domain] = LiveServing(self._settings, self._domains[domain])
        serving = self._servings[domain].now()
        self._domains[domain] = serving.domain
        return serving

    def _named(self, statement: str) -> list[str]:
        """The tables that a statement mentions; one too many, in a comment say, only costs its computing."""
        words = set(re.findall(r"[\w.]+", statement.replace('"', "").lower()))
        return [name for name in self.tables if name in words]

    def _table(self, name: str, answers: dict[str, tuple[Serving, Answer]]) -> pa.Table:
        schema, _, table = name.rpartition(".")
        if schema == "raw":
            return self._raw(table)
        if schema == "quarantine":
            return self._quarantine(table)
        if table not in answers:
            serving = self.serving(self._owners[table])
            answers[table] = serving, serving.answer(table)
        serving, answer = answers[table]
        if not schema:
            return serving.values(answer)
        return serving.present(table, {"marts": answer.batch, "speed": answer.speed}[schema])

    def _raw(self, domain: str) -> pa.Table:
        raw = Raw(self._settings, self._domains[domain])
        table = raw.table()
        return pa.concat_tables(raw.scan({}, raw.positions(table), table))

    def _quarantine(self, domain: str) -> pa.Table:
        serving = self.serving(domain)
        return serving.quarantine(serving.pin())
