"""The browser for the tests of the pages: found, installed where that is possible, or asked for in a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local.browser import set_up_browser
from local.errors import ToolFailed, ToolMissing


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is all of PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def _program(path: Path, script: str = "") -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_browser_that_is_there_is_taken_silently(programs: Path) -> None:
    said: list[str] = []
    _program(programs / "chromium")
    assert (set_up_browser(said.append), said) == (programs / "chromium", [])


def test_root_with_apt_get_installs_it_and_says_so_in_a_line(programs: Path) -> None:
    said: list[str] = []
    log = programs / "log"
    installed = f"echo > {programs}/chromium; /bin/chmod 755 {programs}/chromium"
    _program(programs / "apt-get", f'echo "$*" >> {log}\ncase "$*" in *install*) {installed};; esac')
    assert set_up_browser(said.append) == programs / "chromium"
    assert len(said) == 1 and said[0].startswith("Chromium: apt-get install")
    update, install = log.read_text().splitlines()
    assert update.endswith("update") and "install --yes" in install and "chromium" in install.split()


def test_an_installation_that_fails_tells_its_last_words_and_the_way_by_hand(programs: Path) -> None:
    _program(programs / "apt-get", "echo 'Unable to fetch some archives'; exit 100")
    with pytest.raises(ToolFailed, match=r"(?s)apt install chromium.*Unable to fetch some archives"):
        set_up_browser(lambda _: None)


@pytest.mark.parametrize("root", [True, False])
def test_where_it_cannot_be_installed_the_sentence_says_what_to_install(
    programs: Path, monkeypatch: pytest.MonkeyPatch, root: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    if not root:
        _program(programs / "apt-get")
    with pytest.raises(ToolMissing, match=r"none of chromium, .*\(Debian: apt install chromium; Fedora: dnf install"):
        set_up_browser(lambda _: None)
