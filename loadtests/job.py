"""One request to be sent, and who is told what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from history.records import RequestRecord
from loadtests.workloads.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Job:
    """One request to be sent."""

    id: str
    prompt: Prompt
    phase: str
    worker: int
    intended_ns: int
    held: bool = False
    """It was due before anybody was free to send it."""


class Sink(Protocol):
    """Who is told about a request's life."""

    def tokens(self, count: int) -> None:
        """So many tokens arrived just now, in one event or in several that were read together."""

    def ended(self, record: RequestRecord) -> None:
        """The request is over. Called exactly once for each request, whatever its end."""
