"""The browser in which the tests open the pages: the system's Chromium, which gets its updates with the system."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from local.errors import ToolMissing
from local.tools import Say, run

_NAMES = ("chromium", "google-chrome")
_PACKAGES = ("chromium", "fonts-liberation")


def find_browser() -> Path | None:
    """The browser's program; None where there is none on PATH."""
    return next((Path(found) for name in _NAMES if (found := shutil.which(name))), None)


def set_up_browser(say: Say = print) -> Path:
    """The browser's program, installed first if it is missing and this is root on a system with apt-get.

    Raises ToolMissing where it must be installed by hand, ToolFailed where apt-get could not.
    """
    if found := find_browser():
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ToolMissing(
            f"none of {', '.join(_NAMES)} is on PATH, and the tests of the pages open them in a browser: install one "
            "(Debian: apt install chromium; Fedora: dnf install chromium; else Google's Chrome)"
        )
    say("Chromium: apt-get install (113 MB, once), for the tests of the pages")
    fix = f"install it by hand: apt install {' '.join(_PACKAGES)}"
    apt_get = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    run([*apt_get, "update"], fix)
    run([*apt_get, "install", "--yes", "--no-install-recommends", *_PACKAGES], fix, DEBIAN_FRONTEND="noninteractive")
    if found := find_browser():
        return found
    raise ToolMissing(f"apt-get has installed {' and '.join(_PACKAGES)}, but no {_NAMES[0]} is on PATH; {fix}")
