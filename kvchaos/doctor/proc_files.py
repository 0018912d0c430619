"""Files of the kernel, which may be missing or closed to this account."""

from __future__ import annotations

import re
from pathlib import Path


def read(path: Path) -> str:
    """The text of a file; empty when it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """A file's only number; None for what is not there, or "max"."""
    text = read(path).strip()
    return int(text) if text.isdecimal() else None


def entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing when it cannot be read or is gone."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def processes(proc: Path) -> list[Path]:
    """The folders of all processes."""
    return [path for path in entries(proc) if path.name.isdecimal()]


def field(pattern: str, text: str) -> str:
    """The first group of the first match; empty when there is none."""
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else ""
