"""A check: what was found, whether that is enough, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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
