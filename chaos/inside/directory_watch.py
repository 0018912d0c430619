"""Wakes a thread when a file in a directory changes: by inotify, so that nothing polls meanwhile."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import select
import struct
from pathlib import Path

CLOSE_WRITE, MOVED_FROM, MOVED_TO, DELETE = 0x8, 0x40, 0x80, 0x200
FILE_CHANGED = CLOSE_WRITE | MOVED_FROM | MOVED_TO | DELETE
DELETE_SELF, MOVE_SELF, IGNORED = 0x400, 0x800, 0x8000
DIRECTORY_GONE = DELETE_SELF | MOVE_SELF | IGNORED
"""Bits of inotify events, as in <sys/inotify.h>."""
EVENT = struct.Struct("iIII")
"""struct inotify_event: watch, mask, cookie, and the length of the name that follows."""
BUFFER_BYTES = 1 << 16


class DirectoryWatch:
    """Waits until a file in a directory was written and closed, moved or deleted.

    Without inotify (the user has no watch left, or the directory was moved) `wait` ends after `poll_s`.
    """

    def __init__(self, directory: Path, poll_s: float) -> None:
        self._poll_s = poll_s
        self._woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._events = _watch(directory)
        self._ready = select.poll()
        self._ready.register(self._woken, select.POLLIN)
        if self._events is not None:
            self._ready.register(self._events, select.POLLIN)

    def wait(self, timeout_s: float | None) -> None:
        """Return after a change, after `wake`, or after the timeout; None: no timeout."""
        limit = timeout_s if self._events is not None else min(self._poll_s, timeout_s or self._poll_s)
        self._ready.poll(None if limit is None else math.ceil(limit * 1e3))
        self._drain()

    def wake(self) -> None:
        """End a `wait` of another thread, or the next one."""
        os.eventfd_write(self._woken, 1)

    def close(self) -> None:
        """Close the watch. No thread may wait any more."""
        os.close(self._woken)
        self._end_watch()

    def _drain(self) -> None:
        """Read all events, so that the next `wait` waits for new ones."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._woken)
        if self._events is None:
            return
        try:
            content = os.read(self._events, BUFFER_BYTES)
        except BlockingIOError:
            return
        if _masks(content) & DIRECTORY_GONE:
            self._ready.unregister(self._events)
            self._end_watch()

    def _end_watch(self) -> None:
        if self._events is not None:
            os.close(self._events)
            self._events = None


def _watch(directory: Path) -> int | None:
    """The descriptor of a new inotify watch; None where the system grants none."""
    libc = ctypes.CDLL(None)
    events: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if events < 0:
        return None
    if libc.inotify_add_watch(events, os.fsencode(directory), FILE_CHANGED | DELETE_SELF | MOVE_SELF) < 0:
        os.close(events)
        return None
    return events


def _masks(content: bytes) -> int:
    """The bits of all events."""
    masks = at = 0
    while at < len(content):
        _, mask, _, name_bytes = EVENT.unpack_from(content, at)
        masks |= mask
        at += EVENT.size + name_bytes
    return masks
