"""What the columns of a presented view are: keys, numbers, lists of counts; and which of them a chart is made of.

Invariant: it follows from the declaration and the types alone; nothing here knows a domain.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from lake.view import View

CANDLE = ("open", "high", "low", "close")


@dataclass(frozen=True)
class Columns:
    """Those of a view, as its merged values have them."""

    view: View
    merged: pa.Table

    @property
    def keys(self) -> list[str]:
        return list(self.view.group_by)

    @property
    def columns(self) -> list[str]:
        """All but the keys."""
        return self.view.value_columns()[len(self.keys) :]

    @property
    def numbers(self) -> list[str]:
        return [c for c in self.columns if _is_number(self.kind_of(c))]

    @property
    def lists(self) -> list[str]:
        """The columns that hold counts of several things: a top list, a histogram."""
        return [c for c in self.columns if _is_counts(self.kind_of(c))]

    @property
    def time(self) -> str | None:
        """The key that becomes the x axis: the first that is a time."""
        return next((k for k in self.keys if pa.types.is_temporal(self.kind_of(k))), None)

    @property
    def series(self) -> str | None:
        """The key that becomes the colour: the first that is a string, else the first that is no time."""
        others = [k for k in self.keys if not pa.types.is_temporal(self.kind_of(k))]
        return next((k for k in others if _is_text(self.kind_of(k))), others[0] if others else None)

    @property
    def has_candles(self) -> bool:
        return self.time is not None and set(CANDLE) <= set(self.numbers)

    @property
    def is_whole(self) -> bool:
        """Whether every row is shown, so that a total is one."""
        view = self.view
        return view.having is None and view.limit is None and view.retention is None

    def is_additive(self, column: str) -> bool:
        """Whether the column's values may be added up; those of another view's rows are not, by layer."""
        return self.view.over is None and column in self.view.measures and self.view.measures[column].is_additive

    def title(self, column: str) -> str:
        """The column's name, with its unit."""
        unit = self.view.units.get(column)
        return column.replace("_", " ") + (f" ({unit})" if unit else "")

    def kind_of(self, column: str) -> pa.DataType:
        return self.merged.schema.field(column).type


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_counts(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) and pa.types.is_struct(kind.value_type) and kind.value_type.get_field_index("count") > 0
    )
