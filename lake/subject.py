"""Whose a record is: the records of one subject, told by a field of the domain's events, or by the records' own key.

Invariant: a marker is nobody's. A record whose field can be read is the subject's if, and only if, it has the value.
Where the field is not there, the record is the subject's if its key is the value. Where the field cannot be read, or
has to be there and is not, the record is the subject's if its key, value or headers mention the value as a word of its
own: what cannot be told apart is erased rather than kept.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lake.domain import Domain
from lake.errors import TidemarkError
from lake.expressions import columns_of, nearest
from lake.fields import EventField
from lake.formats.format import literal
from lake.formats.typed import typed_text
from lake.parse import MARKER, parse_sql
from lake.raw_schema import RAW_SCHEMA
from lake.view import View

KEY = "key"
"""Stands for the key that producers give a record, which partitions the log."""
_MENTIONS = ":mentions"


class BadSubject(TidemarkError):
    """What was asked for names no subject of the domain."""


@dataclass(frozen=True)
class Subject:
    """The records of a domain whose `field` is `value`. Neither repr nor any message shows the value."""

    field: str
    value: str = dataclasses.field(repr=False)

    @classmethod
    def of(cls, domain: Domain, where: str) -> Subject:
        """From FIELD=VALUE. Raises BadSubject with what is allowed."""
        name, equals, value = where.partition("=")
        if not equals or not value:
            raise BadSubject("--where wants FIELD=VALUE, such as user_id=u17")
        known = [*(n for n, f in domain.fields.items() if not f.item), KEY]
        if name not in known:
            raise BadSubject(f"'{name}' is no field of {domain.name} with one value; {nearest(name, known)}")
        if name != KEY:
            with duckdb.connect() as db:
                typed = db.sql(f"SELECT {typed_text(domain.fields[name], literal(value))}").fetchall()
            if typed[0][0] is None:
                raise BadSubject(f"the value that was given is no {domain.fields[name].type}, which '{name}' is")
        return cls(name, value)

    def is_mentioned(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """For each binary, whether it holds the value as a word of its own; NULL where it is NULL."""
        # JSON may write letters beyond ASCII as \\u escapes.
        spelled = {self.value.encode(), json.dumps(self.value)[1:-1].encode()}
        words = "|".join("".join(f"\\x{{{byte:02x}}}" for byte in spelling) for spelling in sorted(spelled))
        letter = "0-9A-Za-z_"
        return pc.match_substring_regex(column, f"(?s)(^|[^{letter}])({words})($|[^{letter}])")

    def is_in(self, text: str) -> bool:
        """Whether a text names the value."""
        return bool(self.is_mentioned(pa.chunked_array([[text.encode()]], pa.binary()))[0].as_py())

    def columns_made_from(self, view: View) -> list[str]:
        """The view's keys and states that are made of the field."""
        named = {self.field} - {KEY}
        named |= {item for item, expression in view.each.items() if columns_of(expression) & named}
        keys = [name for name, expression in view.group_by.items() if columns_of(expression) & named]
        uses = {name: use.of for name, use in view.measures.items() if use.of != "*"}
        return keys + [name for name, expression in uses.items() if columns_of(expression) & named]


class Search:
    """Looks for one subject among records. One a thread; not to be shared."""

    def __init__(self, domain: Domain, subject: Subject) -> None:
        self.subject = subject
        self._db = duckdb.connect(config={"threads": 1, "memory_limit": "1GB"})
        self._db.execute("SET TimeZone = 'UTC'")
        value = literal(subject.value)
        if subject.field == KEY:
            field, same, unread = '"key"', f'"key" = encode({value})', '"key" IS NULL'
        else:
            field, declared = f'"{subject.field}"', domain.fields[subject.field]
            same, unread = f"{field} = {typed_text(declared, value)}", "true"
            # The one field alone: what is wrong with others does not keep it from being read.
            domain = domain.model_copy(update={"fields": {subject.field: declared}})
        self._sql = f"""
SELECT "partition", "offset", append_time, headers, coalesce(reason = '{MARKER}', false) AS marker,
    NOT marker AND (coalesce({same}, false) OR (reason IS NOT NULL AND {unread} AND "{_MENTIONS}")
        OR ({field} IS NULL AND coalesce("key" = encode({value}), false))) AS own,
    NOT marker AND NOT own AND "{_MENTIONS}" AS mentioned
FROM ({parse_sql(domain, "batch")})"""

    def among(self, rows: pa.Table) -> pa.Table:
        """Records (RAW_SCHEMA) -> partition, offset, append_time, headers and three tests, each false or true:
        `marker`, `own` (the subject's) and `mentioned` (another's that names the value)."""
        rows = rows.select(RAW_SCHEMA.names)
        self._db.register("batch", rows.append_column(_MENTIONS, self._mentions(rows)))
        return self._db.sql(self._sql).to_arrow_table()

    def typed(self, declared: EventField) -> pa.Scalar:
        """The value as views have it, for a field that is declared so."""
        sql = f"SELECT {typed_text(declared, literal(self.subject.value))} AS value"
        return self._db.sql(sql).to_arrow_table()["value"][0]

    def _mentions(self, rows: pa.Table) -> pa.Array:
        found = [pc.fill_null(self.subject.is_mentioned(rows[name]), False) for name in ("key", "value")]
        headers = rows["headers"].combine_chunks()
        entries = pc.list_flatten(headers)
        texts = [entries.field("key").cast(pa.binary()), entries.field("value")]
        hits = [pc.fill_null(self.subject.is_mentioned(text), False) for text in texts]
        holders = pc.list_parent_indices(headers).filter(pc.or_(*hits))
        in_headers = pc.is_in(pa.array(range(len(rows)), pa.int64()), value_set=holders.cast(pa.int64()))
        return pc.or_(pc.or_(*found), in_headers)
