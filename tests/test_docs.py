"""What the pages under docs name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONCEPTS = ROOT / "docs" / "concepts.md"
FILE = re.compile(r"`((?:lake|streaming|jobs|dags|dashboard|local|tests|docs)/[\w./-]+\.\w+)`")
LINK = re.compile(r"\]\(([^)#:]+)\)")


def missing(text: str) -> list[str]:
    return [name for name in FILE.findall(text) if not (ROOT / name).is_file()]


def test_every_file_that_the_concepts_name_exists() -> None:
    text = CONCEPTS.read_text()
    assert len(set(FILE.findall(text))) > 30
    assert missing(text) == []
    assert missing("see `lake/nowhere.py`") == ["lake/nowhere.py"]


def test_every_idea_has_its_place() -> None:
    rows = [line for line in CONCEPTS.read_text().splitlines() if line.startswith("| ") and "---" not in line]
    ideas = [row.split("|")[1].lower() for row in rows]
    words = """log, event sourcing, consensus, epochs, quorums, r + w > n, sharding, consistent hashing, blocks (hdfs),
        small files, mapreduce, shuffle, reduce-side join, broadcast, yarn, hive, storm, groupings, cassandra,
        zookeeper, vector clocks, cap, lambda, kappa, exactly once, watermarks, crdts, monoids, sketches"""
    for word in words.split(","):
        assert any(word.strip() in idea for idea in ideas), word.strip()
    assert len(CONCEPTS.read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []
