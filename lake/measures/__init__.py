"""The measures a view may use: one module each, found by its name, which is the word for it in a domain file."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from lake.measures.measure import Compiled, Measure, Options

__all__ = ["MACROS", "MEASURES", "Compiled", "Measure", "Options"]

_modules = [info.name for info in pkgutil.iter_modules(__path__) if info.name not in ("argument", "measure")]

MEASURES: dict[str, Measure] = {name: import_module(f"{__name__}.{name}").MEASURE for name in sorted(_modules)}
"""Every measure, by the word that declares it."""

MACROS = "\n".join(measure.macros for measure in MEASURES.values() if measure.macros)
