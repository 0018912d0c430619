"""Shared prefixes, asked by clients that leave: while they wait, while their prompt is read, in mid-answer.

What a request held when its client left has to be given back, also what was being stored or loaded for it.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field, model_validator

from loadtests.workloads.prompt import Abort, Prompt
from loadtests.workloads.shared_prefix import SharedPrefix, SharedPrefixParams


class AbortMixParams(SharedPrefixParams):
    """What a client knows is its own patience. Where that ends on the server, the load decides: with more
    requests in flight than run at once, the short patience ends in the queue."""

    queued_share: float = Field(default=0.15, ge=0.0, le=1.0)
    """Leave within `queued_ms`: most before their prompt is touched."""
    queued_ms: float = Field(default=5.0, gt=0)
    prefill_share: float = Field(default=0.15, ge=0.0, le=1.0)
    """Leave between `queued_ms` and `prefill_ms`."""
    prefill_ms: float = Field(default=100.0, gt=0)
    answer_share: float = Field(default=0.2, ge=0.0, le=1.0)
    """Leave when so many tokens of the answer have come, from the first to the last but one."""

    @model_validator(mode="after")
    def _shares_fit(self) -> AbortMixParams:
        if self.queued_share + self.prefill_share + self.answer_share > 1:
            raise ValueError("the shares are more than 1 together")
        if self.queued_ms > self.prefill_ms:
            raise ValueError("queued_ms is larger than prefill_ms")
        return self


class AbortMix(SharedPrefix):
    """The first round is asked to the end, so that a golden phase has an answer to every prompt."""

    def __init__(self, params: AbortMixParams, name: str, seed: int) -> None:
        super().__init__(params, name, seed)
        self._mix = params

    def request(self, index: int) -> Prompt:
        prompt = super().request(index)
        if index < self._mix.prompts:
            return prompt
        return replace(prompt, abort=self._abort(index, prompt.max_tokens))

    def _abort(self, index: int, max_tokens: int) -> Abort | None:
        mix, draw = self._mix, self._draw
        lot = draw.share("leave", index)
        if lot < mix.queued_share:
            return Abort(after_s=draw.uniform(0, mix.queued_ms, "patience", index) / 1000)
        lot -= mix.queued_share
        if lot < mix.prefill_share:
            return Abort(after_s=draw.uniform(mix.queued_ms, mix.prefill_ms, "patience", index) / 1000)
        lot -= mix.prefill_share
        if lot < mix.answer_share and max_tokens > 1:
            return Abort(after_tokens=draw.integer(1, max_tokens - 1, "patience", index))
        return None
