"""What all workloads share: the interface, and numbers drawn from a hash."""

from __future__ import annotations

import hashlib
import json
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

from pydantic import Field, model_validator

from history.strict_yaml import Strict
from loadtests.workloads.prompt import Prompt, Script, Stage

NUMBER_TOKENS = 4
"""Tokens (each a byte) that spell a number below 2**32."""


class Workload(Protocol):
    """An endless list of conversations; number i is the same in every process and every run.

    Most consist of one request. `chain_length` requests make a conversation; the requests of conversation i
    have the indices from i * chain_length on.
    """

    @property
    def chain_length(self) -> int:
        """Requests in a conversation."""

    @property
    def distinct(self) -> int | None:
        """Conversations before the list repeats; None: it never does."""

    @property
    def longest(self) -> int:
        """Upper bound of prompt plus answer, tokens."""

    def script(self, number: int) -> Script:
        """The conversation with this number, from 0. What it asks depends on the answers that it is sent."""


@runtime_checkable
class TimedWorkload(Protocol):
    """A workload that knows when its conversations came, and has an end."""

    def __len__(self) -> int:
        """Conversations there are."""

    def offset_ns(self, number: int) -> int:
        """When this one is due, from the first. Never less than that of the one before."""


class OneShot(ABC):
    """A workload whose conversations are one request each."""

    @property
    def chain_length(self) -> int:
        return 1

    @abstractmethod
    def request(self, index: int) -> Prompt:
        """The request with this index, from 0."""

    def script(self, number: int) -> Script:
        yield Stage((self.request(number),))


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
        if lowest == highest:
            return lowest
        return self.random(label).randint(lowest, highest)

    def uniform(self, lowest: float, highest: float, *label: str | int) -> float:
        return self.random(label).uniform(lowest, highest)

    def share(self, *label: str | int) -> float:
        """A number from 0 to 1; below s for a share s of the labels."""
        return self.random(label).random()

    def order(self, count: int, *label: str | int) -> tuple[int, ...]:
        """The numbers below `count`, shuffled."""
        numbers = list(range(count))
        self.random(label).shuffle(numbers)
        return tuple(numbers)

    def random(self, label: tuple[str | int, ...]) -> random.Random:
        """A generator that belongs to the label alone."""
        return random.Random(int.from_bytes(hashlib.sha256(self._text(label)).digest(), "big"))

    def _text(self, label: tuple[str | int, ...]) -> bytes:
        return json.dumps([self.key, *label]).encode()


def in_rounds(draw: Draw, count: int, index: int) -> int:
    """Each round takes every number below `count` once, in an order of its own."""
    turn, position = divmod(index, count)
    return _order(draw, count, turn)[position]


@lru_cache(maxsize=16)
def _order(draw: Draw, count: int, turn: int) -> tuple[int, ...]:
    return draw.order(count, "round", turn)


def number_tokens(number: int) -> tuple[int, ...]:
    """A number as tokens: different numbers, different tokens. Raises OverflowError from 2**32 on."""
    return tuple(number.to_bytes(NUMBER_TOKENS, "big"))


def history_id(name: str, number: int, stage: int, tokens: tuple[int, ...]) -> str:
    """Identity of a prompt that holds answers: another answer makes it another prompt."""
    digest = hashlib.blake2b(json.dumps(tokens).encode(), digest_size=6).hexdigest()
    return f"{name}-{number}-{stage}-{digest}"
