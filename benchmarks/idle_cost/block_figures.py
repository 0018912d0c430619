"""The figures of one block of load, on whichever server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """One block of load on one server or engine."""

    tokens_per_s: float
    """Generated, over the block."""
    first_token_ms: float
    """Typical over the block's requests."""
    between_tokens_ms: float
    """Mean over all tokens but the first of each request."""
    step_ms: float
    """Of an engine step."""
    cpu_us_per_token: float
    """Processor time of all of the server's processes."""
