"""A check: what was found, whether that is enough, what to do; and the kernel's files that checks read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

GIB = 2**30
MIB = 2**20


class CheckState(StrEnum):
    """ok; warn: it works, with a drawback; bad: it will not work."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table."""

    name: str
    state: CheckState
    found: str
    fix: str = ""


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
