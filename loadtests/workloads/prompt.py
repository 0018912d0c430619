"""What one request is made of."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal

SAMPLING_SEED = 0


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
    """Alternatives told beside each token's own logprob."""
    prompt_logprobs: int | None = None
    """With it the answer comes in one piece, since the API does not stream these."""
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    priority: int = 0
    """Lower is served first; other than 0 the server takes it only with `--scheduling-policy priority`."""
    cache_salt: str | None = None
    """Prompts share cached blocks only where their salts are equal."""


@dataclass(frozen=True, slots=True)
class Abort:
    """When the client gives a request up on purpose; exactly one of the two is set."""

    after_s: float | None = None
    after_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """Of a chat."""

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


@dataclass(frozen=True, slots=True)
class Stage:
    """Requests that are sent together, so long after all those of the stage before have ended."""

    prompts: tuple[Prompt, ...]
    pause_s: float = 0.0


Answers = Sequence[tuple[int, ...]]
"""The tokens that came back to the prompts of a stage, in their order."""
Script = Generator[Stage, Answers, None]
"""A conversation: gives a stage and is sent what was answered to it."""
