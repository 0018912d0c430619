"""Durations as options give them, such as --for 4h."""

from __future__ import annotations

import re

from kvchaos.errors import UsageError

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([smh])")


def parse_duration(text: str) -> float:
    """Seconds of a text such as 4h, 90m or 600s. Raises UsageError."""
    found = DURATION.fullmatch(text)
    if found is None or not float(found[1]):
        raise UsageError(f"--for {text}: write a duration such as 4h, 90m or 600s")
    return float(found[1]) * SECONDS[found[2]]
