"""The load that every client sends, the file formats of its prompts, and what it reports of a request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from kvchaos.clientbench.measure import LONG, PROMPT_TOKENS
from loadtests.mock.mock_process import Fixed, Settings

TOKENS = LONG
"""Tokens of an answer, one event each."""
PROMPTS = 8000
"""More than are sent, so that no prompt repeats."""
NUMBER_DIGITS = 8
SEED = 1
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class ClientLoad:
    """One kind of measurement."""

    name: str
    gap_ms: float
    """Time of the mock server from a request to the first event, and from each event to the next."""
    at_once: int
    """Requests in flight in a closed loop; in an open loop the most that may be in flight."""
    seconds: float
    """How long requests are sent."""
    rate: float | None = None
    """Requests/s that are due, Poisson; None: closed loop."""
    requests: int = 0
    """Number of requests, for clients that count them and take no duration."""

    @property
    def schedule(self) -> Settings:
        """The mock server's schedule: a token every `gap_ms`, the first one included."""
        return Settings(ttft=Fixed(ms=self.gap_ms), itl=Fixed(ms=self.gap_ms))


def write_prompts(path: Path, prompt: str, tokens: str) -> Path:
    """Prompts as JSON Lines, with these names for the text and for the length of the answer."""
    with path.open("w", encoding="ascii") as file:
        for text in _prompts():
            file.write(json.dumps({prompt: text, tokens: TOKENS}) + "\n")
    return path


def _prompts() -> Iterator[str]:
    """Letters, each a token for the tiny model's tokenizer."""
    random = Random(SEED)
    for number in range(PROMPTS):
        yield f"{number:0{NUMBER_DIGITS}}" + "".join(random.choices(LETTERS, k=PROMPT_TOKENS - NUMBER_DIGITS))


@dataclass(frozen=True, slots=True)
class ClientObservation:
    """Times are the host's monotonic clock."""

    id: str
    """The id of the request in the log of the mock server."""
    first_ns: float
    """When the client received the first token."""
    gaps_ms: tuple[float, ...] = ()
    """Between the events; empty where the client keeps only their mean."""
    mean_gap_ms: float | None = None
    """Set where the client keeps no more than the mean."""
