"""Groups of prompts with a common prefix, asked over and over: the load that a prefix cache lives from."""

from __future__ import annotations

from pydantic import Field, model_validator

from loadtests.workloads.lengths import Lengths, length
from loadtests.workloads.prompt import Prompt
from loadtests.workloads.workload import NUMBER_TOKENS, Draw, OneShot, OutputRange, in_rounds, number_tokens


class SharedPrefixParams(OutputRange):
    """Prompt p belongs to prefix p mod `prefixes`."""

    prefixes: int = Field(default=8, ge=1, le=1_000_000)
    prefix_tokens: int = Field(default=320, ge=1)
    min_prefix_tokens: int | None = Field(default=None, ge=1)
    """Prefixes are between this and `prefix_tokens` long; left out, all are that long. So for suffixes."""
    suffix_tokens: int = Field(default=16, ge=NUMBER_TOKENS)
    min_suffix_tokens: int | None = Field(default=None, ge=NUMBER_TOKENS)
    lengths: Lengths = "uniform"
    prompts: int = Field(default=32, ge=1, le=1_000_000)
    """Distinct prompts; every one is asked once before any is asked again."""
    cold_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of requests that ask something never asked before instead."""

    @model_validator(mode="after")
    def _fits_together(self) -> SharedPrefixParams:
        if self.prefixes > self.prompts:
            raise ValueError("there are more prefixes than prompts")
        for part in ("prefix_tokens", "suffix_tokens"):
            least = getattr(self, f"min_{part}")
            if least is not None and least > getattr(self, part):
                raise ValueError(f"min_{part} is larger than {part}")
        return self


class SharedPrefix(OneShot):
    """Each round asks every prompt once, in an order of its own."""

    def __init__(self, params: SharedPrefixParams, name: str, seed: int) -> None:
        self._params = params
        self._name = name
        self._draw = Draw.of(seed, name, params)

    @property
    def distinct(self) -> int | None:
        return None if self._params.cold_share else self._params.prompts

    @property
    def longest(self) -> int:
        params = self._params
        return params.prefix_tokens + params.suffix_tokens + params.max_output

    def request(self, index: int) -> Prompt:
        if self._draw.share("cold", index) < self._params.cold_share:
            return self._cold(index)
        return self._prompt(in_rounds(self._draw, self._params.prompts, index))

    def _prompt(self, number: int) -> Prompt:
        params, draw = self._params, self._draw
        prefix = draw.tokens(self._prefix_tokens(number), "prefix", number % params.prefixes)
        rest = draw.tokens(self._suffix_tokens("suffix", number) - NUMBER_TOKENS, "suffix", number)
        return Prompt(
            prompt_id=f"{self._name}-{number}",
            token_ids=prefix + number_tokens(number) + rest,
            max_tokens=draw.integer(params.min_output, params.max_output, "output", number),
        )

    def _cold(self, index: int) -> Prompt:
        params, draw = self._params, self._draw
        tokens = self._prefix_tokens(index) + self._suffix_tokens("cold", index)
        return Prompt(
            prompt_id=f"{self._name}-cold-{index}",
            token_ids=number_tokens(index) + draw.tokens(tokens - NUMBER_TOKENS, "cold prompt", index),
            max_tokens=draw.integer(params.min_output, params.max_output, "cold output", index),
        )

    def _prefix_tokens(self, number: int) -> int:
        params, prefix = self._params, number % self._params.prefixes
        bounds = (params.min_prefix_tokens, params.prefix_tokens)
        return length(self._draw, params.lengths, *bounds, "prefix length", prefix)

    def _suffix_tokens(self, *label: str | int) -> int:
        params = self._params
        bounds = (params.min_suffix_tokens, params.suffix_tokens)
        return length(self._draw, params.lengths, *bounds, "suffix length", *label)
