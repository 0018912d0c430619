"""How much of what the server counted may belong to requests that did not end ok."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from history.records import RequestRecord
from oracles.laws.law import Unit


@dataclass(frozen=True, slots=True)
class Spare:
    """At most so much, above what their clients saw of it."""

    requests: int
    """One for each choice."""
    prompt_tokens: int
    generated_tokens: int
    max_tokens: int

    def of(self, unit: Unit) -> int:
        """How much of what a law counts."""
        match unit:
            case "requests":
                return self.requests
            case "prompt_tokens":
                return self.prompt_tokens
            case "generated_tokens":
                return self.generated_tokens


def spare(strays: Iterable[RequestRecord]) -> Spare:
    """Each was read at most whole, once for each choice, and answered with at most its `max_tokens`."""
    requests = prompt = generated = most = 0
    for record in strays:
        choices, tokens = max(record.choices, 1), max(record.max_tokens, 0)
        requests += choices
        prompt += choices * record.prompt_tokens
        generated += choices * tokens
        most += choices * tokens
    return Spare(requests, prompt, generated, most)
