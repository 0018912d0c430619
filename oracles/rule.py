"""A law that an oracle judges by. Its id stays: verdicts, expectations and known bugs name it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal[
    "arithmetic",
    "HTTP and the OpenAI API",
    "operating system",
    "plug-in contract",
    "Prometheus",
    "scenario",
    "vLLM documentation",
    "vLLM source",
]
"""Where a law comes from."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One law. Declared in the file of its oracle."""

    id: str
    """ORACLE/NAME."""
    law: str
    """One sentence that holds for a server without a bug."""
    source: Source
    reads: tuple[str, ...]
    """Names of `oracles.inputs`."""
    inconclusive: str = "never"
    """When it cannot be judged."""

    @property
    def oracle(self) -> str:
        return oracle_of(self.id)


def oracle_of(rule: str) -> str:
    """The oracle of a rule's id, or of an oracle's name."""
    return rule.partition("/")[0]
