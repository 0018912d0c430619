"""Groups of prompts with a common prefix, asked over and over: the load that a prefix cache lives from."""

from __future__ import annotations

from functools import lru_cache

from pydantic import Field, model_validator

from loadtests.workloads.base import NUMBER_TOKENS, Draw, OutputRange, Prompt, number_tokens


class SharedPrefixParams(OutputRange):
    """Prompt p belongs to prefix p mod `prefixes`."""

    prefixes: int = Field(default=8, ge=1, le=1_000_000)
    prefix_tokens: int = Field(default=320, ge=1)
    suffix_tokens: int = Field(default=16, ge=NUMBER_TOKENS)
    prompts: int = Field(default=32, ge=1, le=1_000_000)
    """Distinct prompts; every one is asked once before any is asked again."""

    @model_validator(mode="after")
    def _uses_all_prefixes(self) -> SharedPrefixParams:
        if self.prefixes > self.prompts:
            raise ValueError("there are more prefixes than prompts")
        return self


class SharedPrefix:
    """Each round asks every prompt once, in an order of its own."""

    def __init__(self, params: SharedPrefixParams, name: str, seed: int) -> None:
        self._params = params
        self._name = name
        self._draw = Draw.of(seed, name, params)

    @property
    def distinct(self) -> int:
        return self._params.prompts

    @property
    def longest(self) -> int:
        params = self._params
        return params.prefix_tokens + params.suffix_tokens + params.max_output

    def request(self, index: int) -> Prompt:
        turn, place = divmod(index, self._params.prompts)
        return self._prompt(_order(self._draw, self._params.prompts, turn)[place])

    def _prompt(self, number: int) -> Prompt:
        params, draw = self._params, self._draw
        prefix = draw.tokens(params.prefix_tokens, "prefix", number % params.prefixes)
        rest = draw.tokens(params.suffix_tokens - NUMBER_TOKENS, "suffix", number)
        return Prompt(
            prompt_id=f"{self._name}-{number}",
            token_ids=prefix + number_tokens(number) + rest,
            max_tokens=draw.integer(params.min_output, params.max_output, "output", number),
        )


@lru_cache(maxsize=16)
def _order(draw: Draw, prompts: int, turn: int) -> tuple[int, ...]:
    return draw.order(prompts, "round", turn)
