"""The JSON in the headers of markers: what anybody may have written there, read without trust.

Invariant: whatever a producer sends as a header is a dict of what was asked for, or None; it never raises.
"""

from __future__ import annotations

import json
from typing import Any

_LARGEST = 2**53


def read_header(value: bytes | None, **wanted: type) -> dict[str, Any] | None:
    """The fields in `wanted`, each of its type, integers from 0 up to 2^53; None if they are not there so."""
    try:
        told = json.loads(value or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    found: dict[str, Any] = {name: told.get(name) for name in wanted}
    for name, kind in wanted.items():
        if type(found[name]) is not kind or (kind is int and not 0 <= found[name] <= _LARGEST):
            return None
    return found
