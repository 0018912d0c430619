"""What a kind of alteration is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.alterations.draft import Draft

UNKNOWN = "unknown"
"""Stands for a rule where evidence is lost: the run must be unknown, and is no failure of the server's."""
EXPECTATION = "expectation"
"""Stands for a rule where the plan expects something else than what came: the run is not as expected."""
REFUSED = "refused"
"""Stands for a rule where the file is none any more: judging must end with one line."""


Table = tuple[tuple[str, str, tuple[str, ...], Callable[[Draft], None]], ...]
"""Of kinds: the last part of the name, what is altered, what must notice it, and the alteration."""


class NotApplicable(Exception):
    """The run has not what the alteration changes."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to alter a run."""

    name: str
    what: str
    expects: tuple[str, ...]
    """Rules, or oracles, of which one must find it; or UNKNOWN, REFUSED."""
    alter: Callable[[Draft], None]
    """Changes the draft. Raises NotApplicable."""
    blind: str | None = None
    """Why it is not noticed yet; None: it is."""
    unnoticeable: str | None = None
    """Why nobody could notice it; None: somebody can."""
