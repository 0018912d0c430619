"""The end of a server's log, for messages: its last lines, without terminal codes."""

from __future__ import annotations

import re
from pathlib import Path

TAIL_BYTES = 64 * 1024
TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def last_lines(log: Path, lines: int = 15) -> tuple[str, ...]:
    """The last lines with a letter or digit, terminal codes removed; empty when there is no log."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ()
    plain = TERMINAL_CODES.sub("", text).splitlines()
    meaningful = [line.rstrip() for line in plain if any(char.isalnum() for char in line)]
    return tuple(meaningful[-lines:])
