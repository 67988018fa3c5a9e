"""Whether a new version of a domain can read the events that were written under the old ones.

Invariant: what passes leaves every event that an earlier live version accepted acceptable, with the same values in the
fields that both know. Raw is for ever, and so are the schemas that it was written under.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lake.compile import used_columns
from lake.domain import Domain
from lake.errors import BadDomain
from lake.fields import EventField


def check_compatible(new: Domain, live: Sequence[Domain]) -> None:
    """Raise BadDomain with each place, what it was, what it is and what to do. `live`: what was live, oldest first."""
    if not live:
        return
    known = {name: field for domain in live for name, field in domain.fields.items()}
    problems = [*_log(live[-1], new), *_removed(live[-1], new)]
    for name, field in new.fields.items():
        if name in known:
            problems += _changed(name, known[name], field)
        elif field.required:
            problems.append(
                f"fields.{name}: is new and required, but the events so far have no such field; leave out 'required'"
            )
    if problems:
        raise BadDomain("\n".join(f"{new.name}.yaml: {problem}" for problem in problems))


def _log(old: Domain, new: Domain) -> Iterator[str]:
    for part in ("topic", "partitions", "format"):
        before, now = getattr(old, part), getattr(new, part)
        if before != now:
            yield (
                f"{part}: was {before}, is {now}; the events so far stand in the log and in raw as they are: "
                f"keep {before}, or declare a new domain with a topic of its own"
            )


def _removed(old: Domain, new: Domain) -> Iterator[str]:
    users: dict[str, list[str]] = {}
    for view in old.stored_views.values():
        for name in used_columns(old, view):
            users.setdefault(name, []).append(view.name)
    added = [name for name in new.fields if name not in old.fields]
    for name, field in old.fields.items():
        if name in new.fields or not (field.required or name in users):
            continue
        why = f"views {', '.join(users[name])} use it" if name in users else "it was required"
        renamed = next((n for n in added if new.fields[n].type == field.type), None)
        hint = f" (renamed to '{renamed}'? the events so far have '{name}')" if renamed else ""
        yield (
            f"fields.{name}: was {_said(field)}, is gone, and {why}{hint}; keep it, and declare a new name as one more "
            "optional field; a field that is optional and that no view uses any more can go"
        )


def _changed(name: str, old: EventField, new: EventField) -> Iterator[str]:
    fix = "keep it, or declare a new optional field under another name"
    if old.type != new.type:
        yield f"fields.{name}.type: was {old.type}, is {new.type}; {fix}"
        return
    if new.required and not old.required:
        yield f"fields.{name}.required: was optional, is required, and events without it are in raw; {fix}"
    if new.values is not None:
        missing = [v for v in old.values or () if v not in new.values]
        if old.values is None:
            yield f"fields.{name}.values: was any {old.type}, is {', '.join(new.values)}; {fix}"
        elif missing:
            yield f"fields.{name}.values: had {', '.join(missing)}, which is gone; values can only be added"
    if new.min is not None and (old.min is None or new.min > old.min):
        yield f"fields.{name}.min: was {_or_none(old.min)}, is {new.min:g}; a range can only become wider"
    if new.max is not None and (old.max is None or new.max < old.max):
        yield f"fields.{name}.max: was {_or_none(old.max)}, is {new.max:g}; a range can only become wider"
    if old.unit and new.unit != old.unit:
        yield f"fields.{name}.unit: was {old.unit}, is {new.unit or 'none'}, and old events are in {old.unit}; {fix}"


def _said(field: EventField) -> str:
    return f"a {'required' if field.required else 'optional'} {field.type}"


def _or_none(bound: float | None) -> str:
    return "none" if bound is None else f"{bound:g}"
