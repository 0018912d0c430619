"""A file of JSON Lines: bounded, and never in the server's way."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

MAX_BYTES = 64 << 20


class LineFile:
    """Appends whole lines. A write that fails (a full disk) or would pass the bound closes it for good."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self.open = True
        self.written = 0
        """Bytes."""

    def write(self, line: Mapping[str, object]) -> bool:
        """Append a line; False when it could not be written."""
        if not self.open:
            return False
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        if self.written + len(data) > MAX_BYTES:
            self.open = False
            return False
        try:
            done = os.write(self._fd, data)
        except OSError:
            self.open = False
            return False
        self.written += done
        self.open = done == len(data)
        return self.open
