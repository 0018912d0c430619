"""Prompts that share nothing, not even their first block: the load that no cache helps."""

from __future__ import annotations

from pydantic import Field

from loadtests.workloads.prompt import Prompt
from loadtests.workloads.workload import NUMBER_TOKENS, Draw, OneShot, OutputRange, number_tokens


class UniqueParams(OutputRange):
    prompt_tokens: int = Field(default=256, ge=NUMBER_TOKENS)


class Unique(OneShot):
    """The index is spelled in the first tokens, so the first blocks of two prompts always differ."""

    def __init__(self, params: UniqueParams, name: str, seed: int) -> None:
        self._params = params
        self._name = name
        self._draw = Draw.of(seed, name, params)

    @property
    def distinct(self) -> None:
        return None

    @property
    def longest(self) -> int:
        return self._params.prompt_tokens + self._params.max_output

    def request(self, index: int) -> Prompt:
        params, draw = self._params, self._draw
        rest = draw.tokens(params.prompt_tokens - NUMBER_TOKENS, "prompt", index)
        return Prompt(
            prompt_id=f"{self._name}-{index}",
            token_ids=number_tokens(index) + rest,
            max_tokens=draw.integer(params.min_output, params.max_output, "output", index),
        )
