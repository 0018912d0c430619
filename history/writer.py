"""Append-only JSON Lines, one writer a file, flushed line by line."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec


class LineWriter:
    """Appends records to one file. Safe to use from several threads of one process.

    Raises OSError when the line could not be written whole (a full disk, for example).
    """

    def __init__(self, path: Path) -> None:
        self._encoder = msgspec.json.Encoder()
        self._lock = threading.Lock()
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, record: msgspec.Struct) -> None:
        """Append one record and hand it to the kernel."""
        self.append(self._encoder.encode(record) + b"\n")

    def append(self, lines: bytes) -> None:
        """Append records that are lines already."""
        with self._lock:
            done = 0
            while done < len(lines):
                done += os.write(self._fd, lines[done:])

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
