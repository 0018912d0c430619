"""Shared prefixes with markers: an answer begins with a marker of the prefix that the server read.

A prefix consists of segments. Each begins with a key and a marker. The keys are those of all prefixes, the
markers belong to one prefix. A prompt ends with the key of one segment. A language model continues a key as
it did before, so its answer begins with the marker of that segment.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Annotated

from pydantic import Field, model_validator

from loadtests.workloads.dimensions import LENGTH
from loadtests.workloads.one_shot import SharedPrefix, SharedPrefixParams
from loadtests.workloads.workload import NUMBER_TOKENS, Prompt, WorkloadKind

MARKED = "marked_prefix"
KEY_TOKENS = 4
MARKER_TOKENS = 8


class MarkedPrefixParams(SharedPrefixParams):
    """Parameters of `shared_prefix`, and how many tokens apart the markers are."""

    suffix_tokens: Annotated[int, LENGTH] = Field(default=16, ge=NUMBER_TOKENS + KEY_TOKENS)
    min_suffix_tokens: Annotated[int | None, LENGTH] = Field(default=None, ge=NUMBER_TOKENS + KEY_TOKENS)
    segment_tokens: int = Field(default=64, ge=KEY_TOKENS + MARKER_TOKENS)
    """A prefix has a marker in each of its whole segments, so it must have one at least."""

    @model_validator(mode="after")
    def _has_a_segment(self) -> MarkedPrefixParams:
        if (self.min_prefix_tokens or self.prefix_tokens) < self.segment_tokens:
            raise ValueError("segment_tokens is larger than a prefix")
        return self


class MarkedPrefix(SharedPrefix):
    """A `shared_prefix` load whose prompts ask for markers. Its new prompts, by `cold_share`, have none."""

    def __init__(self, params: MarkedPrefixParams, name: str, seed: int) -> None:
        super().__init__(params, name, seed)
        self._segment_tokens = params.segment_tokens

    def _prompt(self, number: int) -> Prompt:
        params, plain = self._params, super()._prompt(number)
        tokens, prefix = list(plain.token_ids), number % params.prefixes
        segments = self._prefix_tokens(number) // self._segment_tokens
        keys = _parts(self._draw.tokens(segments * KEY_TOKENS, "keys"), KEY_TOKENS)
        markers = _parts(self._draw.tokens(segments * MARKER_TOKENS, "markers", prefix), MARKER_TOKENS)
        for start, key, marker in zip(count(step=self._segment_tokens), keys, markers, strict=False):
            tokens[start : start + KEY_TOKENS + MARKER_TOKENS] = key + marker
        wanted = self._draw.integer(0, segments - 1, "segment", number)
        tokens[-KEY_TOKENS:] = keys[wanted]
        return replace(plain, token_ids=tuple(tokens), marker=markers[wanted])


def _parts(tokens: tuple[int, ...], length: int) -> list[tuple[int, ...]]:
    return [tokens[start : start + length] for start in range(0, len(tokens), length)]


WORKLOADS = (WorkloadKind(MARKED, MarkedPrefixParams, MarkedPrefix),)
