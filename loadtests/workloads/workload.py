"""What all workloads share: prompts, the interface, and numbers and lengths drawn from a hash."""

from __future__ import annotations

import hashlib
import json
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

from pydantic import Field, model_validator

from history.strict_model import Strict
from loadtests.workloads.dimensions import LENGTH

NUMBER_TOKENS = 4
"""Tokens (each a byte) that spell a number below 2**32."""
SAMPLING_SEED = 0
Lengths = Literal["uniform", "lognormal"]
"""How lengths are spread between two bounds."""
BOUND_SIGMAS = 2.0
"""The bounds of a lognormal length lie so many standard deviations from its middle; beyond is cut to them."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Parameters of the API beside prompt and length. With the defaults answers compare best."""

    n: int = 1
    """Answers to one prompt. More than one needs a temperature."""
    temperature: float = 0.0
    top_k: int | None = None
    """1 makes an answer the likeliest one whatever the temperature."""
    seed: int | None = SAMPLING_SEED
    logprobs: int = 1
    """Alternatives reported with each token's own logprob."""
    prompt_logprobs: int | None = None
    """Logprobs of the prompt; the answer then comes in one piece, since the API does not stream these."""
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    priority: int = 0
    """Lower is served first; other than 0 the server takes it only with `--scheduling-policy priority`."""
    cache_salt: str | None = None
    """Prompts share cached blocks only where their salts are equal."""


@dataclass(frozen=True, slots=True)
class Abort:
    """When the client aborts a request on purpose; exactly one of the two is set."""

    after_s: float | None = None
    after_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a chat."""

    role: Literal["system", "user"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request of a workload. Equal prompt ids mean equal tokens, max_tokens and sampling."""

    prompt_id: str
    token_ids: tuple[int, ...]
    """Drawn ones are from 0 to 255, so that any byte-level vocabulary knows them."""
    max_tokens: int
    sampling: Sampling = Sampling()
    abort: Abort | None = None
    messages: tuple[Message, ...] = ()
    """Asked by chat completions; `token_ids` are what the server's template makes of them."""
    marker: tuple[int, ...] = ()
    """Tokens that the prompt asks for, and that only its own prefix has. Empty: it asks for none."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Requests that are sent together, so long after all those of the stage before have ended."""

    prompts: tuple[Prompt, ...]
    pause_s: float = 0.0


Answers = Sequence[tuple[int, ...]]
"""The tokens that came back to the prompts of a stage, in their order."""
Script = Generator[Stage, Answers, None]
"""A conversation: gives a stage and is sent what was answered to it."""


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
        """Time at which a conversation is due, from the first; never before the previous one."""


@dataclass(frozen=True, slots=True)
class WorkloadKind:
    """A kind of workload: its name in scenarios, the model of its parameters, and what makes one of them."""

    name: str
    params: type[Strict]
    make: Callable[[Any, str, int], Workload]
    """Gets the parameters, the workload's name in the scenario, and the seed. Raises ValueError."""


class OneShot(ABC):
    """A workload whose conversations are one request each."""

    @property
    def chain_length(self) -> int:
        """One request for each conversation."""
        return 1

    @abstractmethod
    def request(self, index: int) -> Prompt:
        """The request with this index, from 0."""

    def script(self, number: int) -> Script:
        """The one request of a conversation."""
        yield Stage((self.request(number),))


class OutputRange(Strict):
    """How long the answers are, tokens. The request forbids an earlier stop."""

    min_output: Annotated[int, LENGTH] = Field(default=16, ge=1)
    max_output: Annotated[int, LENGTH] = Field(default=64, ge=1)

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
        """The numbers of one workload: equal seed, name and parameters give equal numbers."""
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
        """A number between two bounds, for a label."""
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


def length(draw: Draw, shape: Lengths, least: int | None, most: int, *label: str | int) -> int:
    """Tokens between the bounds, both possible; without a least, always the most."""
    lowest = most if least is None else least
    if shape == "uniform" or lowest == most:
        return draw.integer(lowest, most, *label)
    low, high = math.log(lowest), math.log(most)
    value = draw.random(label).lognormvariate((low + high) / 2, (high - low) / 2 / BOUND_SIGMAS)
    return min(max(round(value), lowest), most)
