"""What the shipped views must show, in plain Python: computed from the events alone, by none of the kernel's code.

`STATES` has, for each view with states, a function of the events to {key: state}; `ROWS`, for each view, one to the
rows that it shows, in their order where the view has one. An event is its JSON object with `partition` and `offset`
beside, and `users.country` where a dimension is joined.
"""

from tests.reference import documents, hashtags, plates, shop, stocks
from tests.reference.shop import Reference

__all__ = ["DOMAINS", "Reference"]

DOMAINS = {module.__name__.rpartition(".")[2]: module for module in (documents, hashtags, plates, shop, stocks)}
