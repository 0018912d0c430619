"""What a kind of mutant is: how one is made, and how the software reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

REFUSED = "refused"
ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of input."""

    name: str
    make: Callable[[Random, Path], None]
    """Writes a mutant into an empty folder. The generator alone decides which."""
    read: Callable[[Path], str]
    """Reads it as the commands do and names the outcome, or raises one of `refusals` with one line."""
    refusals: tuple[type[Exception], ...]
    forbidden: Mapping[str, str] = field(default_factory=dict)
    """Outcomes that are failures, with the reason."""
