"""What a child process is told before its program begins: to end with the process that started it.

Invariant: the kernel sees to it, however the parent ends; no handler of a signal, no clean-up has to run.

Source: PR_SET_PDEATHSIG in prctl(2), which only Linux has; elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def end_with(parent: int, word: signal.Signals = signal.SIGKILL) -> None:
    """For Popen's `preexec_fn`: the child gets `word` when the process `parent`, which starts it, has ended.

    Start the child from a thread that lasts, such as the main one: the kernel takes that thread's end for the parent's.
    What the child starts gets nothing; it has to notice by itself, as a JVM of Spark's does at the end of its stdin.
    """
    if sys.platform != "linux":
        return
    _libc.prctl(_PR_SET_PDEATHSIG, word)
    if os.getppid() != parent:  # it ended before that
        os.kill(os.getpid(), word)
