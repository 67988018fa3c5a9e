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
from lake.raw import Raw
from lake.serving import Answer, Serving
from lake.settings import Settings


class Prompt:
    """Answers SQL over all domains. One statement sees a view at one moment: merged, marts and speed agree."""

    def __init__(self, settings: Settings, domains: dict[str, Domain]) -> None:
        self._settings = settings
        self._domains = domains
        self._owners = {view: domain.name for domain in domains.values() for view in domain.views}
        self._servings: dict[str, Serving] = {}

    @property
    def tables(self) -> list[str]:
        """Every name a query may use."""
        views = [f"{schema}{view}" for view in self._owners for schema in ("", "marts.", "speed.")]
        return views + [f"{schema}.{domain}" for domain in self._domains for schema in ("raw", "quarantine")]

    def query(self, statement: str) -> pa.Table:
        """The rows of a SELECT. Raises TidemarkError with what is wrong with the statement."""
        with duckdb.connect() as db:
            db.execute("SET TimeZone = 'UTC'")
            for schema in ("marts", "speed", "raw", "quarantine"):
                db.execute(f"CREATE SCHEMA {schema}")
            try:
                answers: dict[str, Answer] = {}
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
        """The domain's serving, kept between statements."""
        if domain not in self._servings:
            if domain not in self._domains:
                raise TidemarkError(f"no domain '{domain}'; {nearest(domain, self._domains)}")
            self._servings[domain] = Serving(self._settings, self._domains[domain])
        return self._servings[domain]

    def _named(self, statement: str) -> list[str]:
        """The tables that a statement mentions; one too many, in a comment say, only costs its computing."""
        words = set(re.findall(r"[\w.]+", statement.replace('"', "").lower()))
        return [name for name in self.tables if name in words]

    def _table(self, name: str, answers: dict[str, Answer]) -> pa.Table:
        schema, _, table = name.rpartition(".")
        if schema == "raw":
            return self._raw(table)
        if schema == "quarantine":
            return self._quarantine(table)
        serving = self.serving(self._owners[table])
        if table not in answers:
            answers[table] = serving.answer(table)
        answer = answers[table]
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
