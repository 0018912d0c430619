"""One request to be sent, and the sink of its results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from history.records import RequestRecord
from loadtests.workloads.workload import Prompt


@dataclass(frozen=True, slots=True)
class Job:
    """One request to be sent."""

    id: str
    prompt: Prompt
    phase: str
    worker: int
    scheduled_ns: int
    client_queued: bool = False
    """It was due before a user was free to send it."""


class Sink(Protocol):
    """Receives the tokens and the end of a request."""

    def tokens(self, count: int) -> None:
        """So many tokens arrived just now, in one event or in several that were read together."""

    def ended(self, record: RequestRecord) -> None:
        """The request is over. Called exactly once for each request, whatever its end."""
