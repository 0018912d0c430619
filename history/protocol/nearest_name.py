"""The hint in a message about a name that does not exist: the nearest one that does."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest_name(given: str, valid: Iterable[str]) -> str:
    """The nearest valid name as a question, or all of them in their order when none is near."""
    known = list(valid)
    if near := get_close_matches(given, known, n=1):
        return f"did you mean {near[0]}?"
    return f"known are {', '.join(known)}" if known else "remove it"
