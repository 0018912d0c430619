"""Conversations of several turns. Each turn sends all that was said so far, the server's answers included.

While a user thinks, others talk: when the turn comes back, its blocks have left the device. That is what
offloading is for.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from loadtests.workloads.lengths import Lengths, length
from loadtests.workloads.prompt import Prompt, Script, Stage
from loadtests.workloads.workload import (
    NUMBER_TOKENS,
    Draw,
    OutputRange,
    history_id,
    in_rounds,
    number_tokens,
)


class ChatParams(OutputRange):
    conversations: int = Field(default=12, ge=1, le=1_000_000)
    """Distinct ones; every one is held once before any is held again."""
    turns: int = Field(default=4, ge=1, le=1000)
    system_tokens: int = Field(default=64, ge=0)
    """What all conversations begin with."""
    user_tokens: int = Field(default=48, ge=NUMBER_TOKENS)
    """What a user says in a turn: this long, or between `min_user_tokens` and this."""
    min_user_tokens: int | None = Field(default=None, ge=NUMBER_TOKENS)
    lengths: Lengths = "uniform"
    min_think_s: float = Field(default=0.2, ge=0)
    """From the end of an answer to the next turn."""
    max_think_s: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _fits_together(self) -> ChatParams:
        if self.min_think_s > self.max_think_s:
            raise ValueError("min_think_s is larger than max_think_s")
        if self.min_user_tokens is not None and self.min_user_tokens > self.user_tokens:
            raise ValueError("min_user_tokens is larger than user_tokens")
        return self


class Chat:
    """A conversation is asked again with the same users' words; same answers, same prompts."""

    def __init__(self, params: ChatParams, name: str, seed: int) -> None:
        self._params = params
        self._name = name
        self._draw = Draw.of(seed, name, params)

    @property
    def chain_length(self) -> int:
        return self._params.turns

    @property
    def distinct(self) -> int:
        return self._params.conversations

    @property
    def longest(self) -> int:
        params = self._params
        return params.system_tokens + params.turns * (params.user_tokens + params.max_output)

    def script(self, number: int) -> Script:
        params, draw = self._params, self._draw
        talk = in_rounds(draw, params.conversations, number)
        history = draw.tokens(params.system_tokens, "system")
        for turn in range(params.turns):
            history += self._says(talk, turn)
            prompt = Prompt(
                prompt_id=history_id(self._name, talk, turn, history),
                token_ids=history,
                max_tokens=draw.integer(params.min_output, params.max_output, "output", talk, turn),
            )
            # By the number, not the talk: who comes again takes another time to think.
            think_s = draw.uniform(params.min_think_s, params.max_think_s, "think", number, turn)
            (answer,) = yield Stage((prompt,), think_s if turn else 0.0)
            history += answer

    def _says(self, talk: int, turn: int) -> tuple[int, ...]:
        params = self._params
        bounds = (params.min_user_tokens, params.user_tokens)
        tokens = length(self._draw, params.lengths, *bounds, "user length", talk, turn)
        return number_tokens(talk) + self._draw.tokens(tokens - NUMBER_TOKENS, "user", talk, turn)
