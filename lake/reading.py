"""Whether what a view does with its values at read fits their types: derived values, having, retention.

Invariant: a view that passes can be presented and shown whatever its states hold.
"""

from __future__ import annotations

from dataclasses import replace

import duckdb

from lake.domain_errors import mismatch
from lake.expressions import plainly
from lake.plan import Plan, quoted
from lake.yaml_file import Path


def check_reading(db: duckdb.DuckDBPyConnection, domain: str, view: str, plan: Plan) -> None:
    """`db` holds the table `states`, for the types of its columns. Raises BadDomain with the place and the fix."""

    def type_of(path: Path, expression: str) -> str:
        try:
            return str(db.sql(f"SELECT {expression} FROM ({rows})").types[0])
        except duckdb.Error as error:
            raise mismatch(domain, view, path, plainly(error)) from None

    rows = replace(plan, derived={}).present()
    for name, expression in plan.derived.items():
        type_of(("values", name), f"TRY({expression})")
        rows = f'SELECT *, TRY({expression}) AS "{name}" FROM ({rows})'
    if plan.having and (found := type_of(("having",), f"TRY({plan.having})")) != "BOOLEAN":
        raise mismatch(domain, view, ("having",), f"'{plan.having}' is a {found}; expected a condition, true or false")
    if plan.retention:
        [key] = quoted([plan.retention[0]])
        if not (found := type_of(("retention", "key"), key)).startswith(("TIMESTAMP", "DATE")):
            said = f"'{plan.retention[0]}' is a {found}; expected a key that is a time or a date"
            raise mismatch(domain, view, ("retention", "key"), said)
