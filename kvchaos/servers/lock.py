"""One command at a time works on a server environment; the next one waits."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None]) -> Iterator[int]:
    """Hold the lock file `path`, whose folder must exist; `on_wait` is called once when another has it.

    Yields the file descriptor. A child process that inherits it keeps the lock for as long as it
    lives, so that what a killed command left running is waited for, too. The file itself stays:
    removing it would let two commands lock two different files.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
