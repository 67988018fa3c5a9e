"""What the processes tell of themselves, as Prometheus metrics: declared here, listed in docs/metrics.md.

Invariant: a metric costs the hot paths an addition, and one query a chunk for the bad records. What has to be asked for
(a log's end, the store's heads) is asked when somebody reads the metrics, not before.
"""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
)

from lake.errors import BadSettings
from lake.settings import Settings

_COUNTS = (1, 10, 100, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_DOMAIN = ("domain",)

LANDED_EVENTS = Counter("tidemark_landed_events_total", "Records committed to raw.", _DOMAIN)
LANDED_BYTES = Counter("tidemark_landed_bytes_total", "Bytes of their keys and values.", _DOMAIN)
LAND_COMMIT_EVENTS = Histogram("tidemark_land_commit_events", "Records of a commit.", _DOMAIN, buckets=_COUNTS)
LAND_COMMIT_SECONDS = Histogram("tidemark_land_commit_seconds", "How long a commit took.", _DOMAIN, buckets=_SECONDS)
LAND_FAILURES = Counter("tidemark_land_failures_total", "Failures after which raw was compared anew.", _DOMAIN)
LAND_LAG = Gauge("tidemark_land_lag_offsets", "The log's end less what was landed, over its partitions.", _DOMAIN)

ROUTED_EVENTS = Counter("tidemark_routed_events_total", "Records appended out of a domain's sources.", _DOMAIN)
ROUTE_LAG = Gauge("tidemark_route_lag_offsets", "A source's end less what was read of it.", ("domain", "source"))

PUT_EVENTS = Counter("tidemark_put_events_total", "Records whose states the store accepted.", _DOMAIN)
PUT_BAD = Counter("tidemark_put_bad_events_total", "Those among them that have something wrong in them.", _DOMAIN)
CHUNK_EVENTS = Histogram("tidemark_chunk_events", "Records of a chunk.", _DOMAIN, buckets=_COUNTS)
CHUNK_SECONDS = Histogram("tidemark_chunk_seconds", "From a chunk read to it stored.", _DOMAIN, buckets=_SECONDS)
STORE_PUT_SECONDS = Histogram("tidemark_store_put_seconds", "The store's part of it.", _DOMAIN, buckets=_SECONDS)
REFUSED_PUTS = Counter("tidemark_refused_puts_total", "Partitions of chunks that the store refused.", _DOMAIN)
SPEED_LAG = Gauge(
    "tidemark_speed_lag_offsets",
    "The log's end less the store's heads, over all partitions.",
    ("domain", "generation"),
)
SPEED_HEAD_TIME = Gauge(
    "tidemark_speed_head_timestamp_seconds",
    "Append time of the newest record in the store.",
    ("domain", "generation"),
)

ANSWERS = Counter("tidemark_answers_total", "Answers by outcome: new, held or missing.", ("domain", "outcome"))
ANSWER_SECONDS = Histogram("tidemark_answer_seconds", "How long an answer took.", _DOMAIN, buckets=(0.001, *_SECONDS))
FRONTIER_TIME = Gauge(
    "tidemark_answer_frontier_timestamp_seconds",
    "The frontier of the newest answer; the speed tail begins there.",
    ("domain", "view"),
)
FRESH_TIME = Gauge(
    "tidemark_answer_fresh_timestamp_seconds",
    "Append time of the newest record in the newest answer's speed tail.",
    ("domain", "view"),
)

FRESHNESS_SECONDS = Histogram(
    "tidemark_freshness_seconds",
    "From a canary's marker sent to the merged answers' heads beyond it.",
    _DOMAIN,
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300),
)
LAST_FRESHNESS_SECONDS = Gauge("tidemark_freshness_last_seconds", "The newest of these.", _DOMAIN)
CANARY_WAITING_SECONDS = Gauge("tidemark_canary_waiting_seconds", "How long the marker under way has waited.", _DOMAIN)
CANARY_MARKERS = Counter("tidemark_canary_markers_total", "Markers that the canary has appended.", _DOMAIN)
CANARY_FAILURES = Counter("tidemark_canary_failures_total", "Markers not appended, looks not answered.", _DOMAIN)
RAW_LAG = Gauge("tidemark_raw_lag_offsets", "The log's end less raw's positions, as the canary finds them.", _DOMAIN)


@lru_cache(maxsize=8)
def serve_metrics(settings: Settings, registry: CollectorRegistry = REGISTRY) -> int | None:
    """Serve this process's metrics, or another registry's, over HTTP, once, on a thread of their own: the port; None if
    they are off.

    For `main` functions only. Raises BadSettings if nothing can listen there.
    """
    if settings.metrics_port is None:
        return None
    disable_created_metrics()
    try:
        server, _ = start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:
        raise BadSettings(
            f"TIDEMARK_METRICS_PORT={settings.metrics_port}: nothing can listen there on {settings.metrics_host} "
            f"({error.strerror}); choose another port, or none to serve no metrics"
        ) from error
    return server.server_port
