"""What all workloads share: the prompt, the interface, and numbers drawn from a hash."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field, model_validator

from history.plan import Strict

NUMBER_TOKENS = 4
"""Tokens (each a byte) that spell a number below 2**32."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request of a workload. Equal prompt ids mean equal tokens and equal max_tokens."""

    prompt_id: str
    token_ids: tuple[int, ...]
    """Each from 0 to 255, so that any byte-level vocabulary knows them."""
    max_tokens: int


class Workload(Protocol):
    """An endless list of requests; the one with index i is the same in every process and every run."""

    @property
    def distinct(self) -> int | None:
        """Prompts before the list repeats; None: it never does."""

    @property
    def longest(self) -> int:
        """Upper bound of prompt plus answer, tokens."""

    def request(self, index: int) -> Prompt:
        """The request with this index, from 0."""


class OutputRange(Strict):
    """How long the answers are, tokens. The server is told not to stop earlier."""

    min_output: int = Field(default=16, ge=1)
    max_output: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> OutputRange:
        if self.min_output > self.max_output:
            raise ValueError("min_output is larger than max_output")
        return self


@dataclass(frozen=True, slots=True)
class Draw:
    """Numbers that depend on nothing but the seed, the workload's name and parameters, and a label."""

    key: str

    @classmethod
    def of(cls, seed: int, name: str, params: Strict) -> Draw:
        return cls(json.dumps([seed, name, params.model_dump()], sort_keys=True))

    def tokens(self, count: int, *label: str | int) -> tuple[int, ...]:
        """`count` tokens, each from 0 to 255."""
        return tuple(hashlib.shake_256(self._text(label)).digest(count))

    def integer(self, lowest: int, highest: int, *label: str | int) -> int:
        """A number between two bounds, both possible."""
        return self._random(label).randint(lowest, highest)

    def order(self, count: int, *label: str | int) -> tuple[int, ...]:
        """The numbers below `count`, shuffled."""
        numbers = list(range(count))
        self._random(label).shuffle(numbers)
        return tuple(numbers)

    def _random(self, label: tuple[str | int, ...]) -> random.Random:
        return random.Random(int.from_bytes(hashlib.sha256(self._text(label)).digest(), "big"))

    def _text(self, label: tuple[str | int, ...]) -> bytes:
        return json.dumps([self.key, *label]).encode()


def number_tokens(number: int) -> tuple[int, ...]:
    """A number as tokens: different numbers, different tokens. Raises OverflowError from 2**32 on."""
    return tuple(number.to_bytes(NUMBER_TOKENS, "big"))
