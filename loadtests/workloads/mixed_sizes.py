"""Many short prompts and a few long ones: whoever waits behind a long prompt shows how the server shares."""

from __future__ import annotations

from pydantic import Field, model_validator

from loadtests.workloads.lengths import Lengths, length
from loadtests.workloads.prompt import Prompt
from loadtests.workloads.workload import NUMBER_TOKENS, Draw, OneShot, OutputRange, in_rounds, number_tokens


class MixedSizesParams(OutputRange):
    prompts: int = Field(default=40, ge=1, le=1_000_000)
    """Distinct prompts; every one is asked once before any is asked again."""
    large_share: float = Field(default=0.2, ge=0.0, le=1.0)
    min_small_tokens: int = Field(default=8, ge=NUMBER_TOKENS)
    max_small_tokens: int = Field(default=96, ge=NUMBER_TOKENS)
    min_large_tokens: int = Field(default=256, ge=NUMBER_TOKENS)
    max_large_tokens: int = Field(default=640, ge=NUMBER_TOKENS)
    lengths: Lengths = "lognormal"

    @model_validator(mode="after")
    def _sizes_in_order(self) -> MixedSizesParams:
        if self.min_small_tokens > self.max_small_tokens or self.min_large_tokens > self.max_large_tokens:
            raise ValueError("the least length of a size is larger than the most")
        return self


class MixedSizes(OneShot):
    """Each round asks every prompt once, in an order of its own, so that the sizes mix."""

    def __init__(self, params: MixedSizesParams, name: str, seed: int) -> None:
        self._params = params
        self._name = name
        self._draw = Draw.of(seed, name, params)

    @property
    def distinct(self) -> int:
        return self._params.prompts

    @property
    def longest(self) -> int:
        params = self._params
        return max(params.max_small_tokens, params.max_large_tokens) + params.max_output

    def request(self, index: int) -> Prompt:
        params, draw = self._params, self._draw
        number = in_rounds(draw, params.prompts, index)
        bounds = (params.min_small_tokens, params.max_small_tokens)
        if number < round(params.large_share * params.prompts):
            bounds = (params.min_large_tokens, params.max_large_tokens)
        tokens = length(draw, params.lengths, *bounds, "length", number)
        return Prompt(
            prompt_id=f"{self._name}-{number}",
            token_ids=number_tokens(number) + draw.tokens(tokens - NUMBER_TOKENS, "prompt", number),
            max_tokens=draw.integer(params.min_output, params.max_output, "output", number),
        )
