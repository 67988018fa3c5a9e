"""Invented events of the `documents` domain: texts as `tidemark push` announces them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator

from streaming.events.stream import Record, Shares, picked, stream

_TEMPLATES = 1 << 12
_SUBJECTS = [
    *("river", "harbour", "tide", "vessel", "storm", "captain", "lighthouse", "anchor", "cargo", "market"),
    *("bridge", "tower", "café", "Übersee"),
]
_VERBS = [
    *("crosses", "leaves", "reaches", "carries", "follows", "watches", "loses", "finds", "measures", "remembers"),
    *("repairs", "counts"),
]
_RARE = [f"{first}{last}" for first in ("north", "salt", "moon", "grey", "deep") for last in ("sound", "mark", "way")]
_KINDS = {"text/plain": 85, "text/markdown": 10, "image/png": 5}


def document_events(seed: int, shares: Shares, clock_ms: Callable[[], int], history_ms: int = 0) -> Iterator[Record]:
    """Keyed by the content's SHA-256; one in twenty is a picture and has no text."""
    rng = random.Random(f"documents {seed}")
    templates = [_template(rng, number) for number in range(_TEMPLATES)]
    return stream(seed, shares, clock_ms, history_ms, picked(rng, templates))


def _template(rng: random.Random, number: int) -> tuple[bytes, bytes]:
    kind = rng.choices([*_KINDS], [*_KINDS.values()])[0]
    text = None if kind == "image/png" else " ".join(_sentence(rng) for _ in range(rng.randint(1, 6)))
    content = rng.randbytes(2_000) if text is None else text.encode()
    digest = hashlib.sha256(content).hexdigest()
    document = {
        "name": f"note-{number:04d}.{ {'text/plain': 'txt', 'text/markdown': 'md', 'image/png': 'png'}[kind] }",
        "media_type": kind,
        "bytes": len(content),
        "sha256": digest,
        "uri": f"s3://tidemark/files/{digest}",
        "text": text,
    }
    return digest.encode(), json.dumps(document, separators=(",", ":"), ensure_ascii=False)[1:].encode()


def _sentence(rng: random.Random) -> str:
    """A few words are frequent, most are rare, as in any language."""
    first, second = (_SUBJECTS[int(len(_SUBJECTS) * rng.random() ** 2)] for _ in range(2))
    sentence = f"The {first} {rng.choice(_VERBS)} the {second}"
    if rng.random() < 0.3:
        sentence += f" of {rng.choice(_RARE).title()}-{rng.randint(1, 60)}"
    return sentence + rng.choice((".", ".", "!", "; nobody knows why."))
