"""The cache of tools: complete entries or none, whoever builds them and however that ends."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from local import cache
from local.errors import DiskFull


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def _build_slowly(into: Path) -> None:
    builds = cache.cache_dir().parent / "builds"
    with builds.open("a") as log:
        log.write("build\n")
    for number in range(200):
        (into / str(number)).write_text("whole")


def _set_up(start: object, results: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    results.put(len(list(cache.entry("tool-1", _build_slowly).iterdir())))  # type: ignore[attr-defined]


def test_set_ups_at_once_build_an_entry_once_and_all_see_it_whole(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_set_up, args=(start, results)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [results.get(timeout=20) for _ in processes] == [200] * 4
    for process in processes:
        process.join()
    assert (tmp_path / "builds").read_text() == "build\n"


def test_a_build_that_fails_leaves_nothing_and_can_be_tried_again() -> None:
    def fail(into: Path) -> None:
        (into / "half").touch()
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError, match="no network"):
        cache.entry("tool-1", fail)
    assert not (cache.cache_dir() / "tool-1").exists()
    assert sorted(p.name for p in cache.entry("tool-1", lambda into: None).parent.glob("tool*")) == ["tool-1"]


def test_what_a_killed_build_left_is_not_taken_for_a_part_of_the_next() -> None:
    left = cache.cache_dir() / ".tool-1.building"
    left.mkdir(parents=True)
    (left / "half").touch()
    built = cache.entry("tool-1", lambda into: (into / "whole").touch())
    assert [path.name for path in built.iterdir()] == ["whole"]


def test_a_full_disk_is_said_before_a_build_with_the_setting_that_moves_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache, "free_gib", lambda path: 0.5)
    with pytest.raises(DiskFull, match=r"0\.5 GiB .* 3 GiB .* XDG_CACHE_HOME"):
        cache.entry("tool-1", lambda into: None)
