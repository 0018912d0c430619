"""Workloads of single requests: shared prefixes, long documents, mixed sizes, prompts that share nothing."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from loadtests.workloads.dimensions import LENGTH, WIDTH
from loadtests.workloads.workload import (
    NUMBER_TOKENS,
    Draw,
    Lengths,
    OneShot,
    OutputRange,
    Prompt,
    WorkloadKind,
    in_rounds,
    length,
    number_tokens,
)

SHARED = "shared_prefix"


class SharedPrefixParams(OutputRange):
    """Prompt p belongs to prefix p mod `prefixes`."""

    prefixes: Annotated[int, WIDTH] = Field(default=8, ge=1, le=1_000_000)
    prefix_tokens: Annotated[int, LENGTH] = Field(default=320, ge=1)
    min_prefix_tokens: Annotated[int | None, LENGTH] = Field(default=None, ge=1)
    """Prefixes are between this and `prefix_tokens` long; left out, all are that long. So for suffixes."""
    suffix_tokens: Annotated[int, LENGTH] = Field(default=16, ge=NUMBER_TOKENS)
    min_suffix_tokens: Annotated[int | None, LENGTH] = Field(default=None, ge=NUMBER_TOKENS)
    lengths: Lengths = "uniform"
    prompts: Annotated[int, WIDTH] = Field(default=32, ge=1, le=1_000_000)
    """Distinct prompts; each is sent once before any is repeated."""
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
    """Groups of prompts with a common prefix, sent again and again: the load that a prefix cache is for.

    Each round asks every prompt once, in an order of its own.
    """

    def __init__(self, params: SharedPrefixParams, name: str, seed: int) -> None:
        self._params = params
        self._name = name
        self._draw = Draw.of(seed, name, params)

    @property
    def distinct(self) -> int | None:
        """Number of distinct prompts; None when some are always new."""
        return None if self._params.cold_share else self._params.prompts

    @property
    def longest(self) -> int:
        """The most tokens of a prompt with its answer."""
        params = self._params
        return params.prefix_tokens + params.suffix_tokens + params.max_output

    def request(self, index: int) -> Prompt:
        """The prompt of a request, by its index in the workload."""
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


class MidPrefillPreemptionParams(SharedPrefixParams):
    """The values that were seen to do it, for 40 to 64 blocks of 32 tokens and 96 tokens a step."""

    prefixes: Annotated[int, WIDTH] = Field(default=40, ge=1, le=1_000_000)
    prefix_tokens: Annotated[int, LENGTH] = Field(default=560, ge=1)
    suffix_tokens: Annotated[int, LENGTH] = Field(default=8, ge=NUMBER_TOKENS)
    prompts: Annotated[int, WIDTH] = Field(default=80, ge=1, le=1_000_000)
    min_output: Annotated[int, LENGTH] = Field(default=37, ge=1)
    max_output: Annotated[int, LENGTH] = Field(default=150, ge=1)


class MidPrefillPreemption(SharedPrefix):
    """Long prompts over few prefixes with answers of very different lengths (vllm#36533).

    A shared-prefix load in shape; what makes it is its figures. On a server with few blocks and chunked
    prefill, requests are preempted during prefill. They resume with a prompt that is partly in the offload
    tier. This ends vLLM 0.16 to 0.18.
    """

    def __init__(self, params: MidPrefillPreemptionParams, name: str, seed: int) -> None:
        super().__init__(params, name, seed)


class LongDocumentParams(OutputRange):
    """Parameters of `long_document`. Lengths are tokens."""

    documents: Annotated[int, WIDTH] = Field(default=6, ge=1, le=1_000_000)
    document_tokens: Annotated[int, LENGTH] = Field(default=480, ge=1)
    """This long, or between `min_document_tokens` and this."""
    min_document_tokens: Annotated[int | None, LENGTH] = Field(default=None, ge=1)
    lengths: Lengths = "uniform"
    questions: int = Field(default=5, ge=1, le=1_000_000)
    """Questions to each document."""
    question_tokens: Annotated[int, LENGTH] = Field(default=16, ge=NUMBER_TOKENS)
    min_output: Annotated[int, LENGTH] = Field(default=4, ge=1)
    max_output: Annotated[int, LENGTH] = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _lengths_in_order(self) -> LongDocumentParams:
        if self.min_document_tokens is not None and self.min_document_tokens > self.document_tokens:
            raise ValueError("min_document_tokens is larger than document_tokens")
        return self


class LongDocument(OneShot):
    """Long documents with many questions to each. Before a document comes back, all the others are read.

    A round asks one question of each document, the documents in an order of its own.
    """

    def __init__(self, params: LongDocumentParams, name: str, seed: int) -> None:
        self._params = params
        self._name = name
        self._draw = Draw.of(seed, name, params)

    @property
    def distinct(self) -> int:
        """Number of distinct prompts: documents by questions."""
        return self._params.documents * self._params.questions

    @property
    def longest(self) -> int:
        """The most tokens of a prompt with its answer."""
        params = self._params
        return params.document_tokens + params.question_tokens + params.max_output

    def request(self, index: int) -> Prompt:
        """The prompt of a request, by its index in the workload."""
        params, draw = self._params, self._draw
        document = in_rounds(draw, params.documents, index)
        question = index // params.documents % params.questions
        bounds = (params.min_document_tokens, params.document_tokens)
        tokens = length(draw, params.lengths, *bounds, "document length", document)
        rest = draw.tokens(params.question_tokens - NUMBER_TOKENS, "question", document, question)
        return Prompt(
            prompt_id=f"{self._name}-{document}-{question}",
            token_ids=draw.tokens(tokens, "document", document) + number_tokens(question) + rest,
            max_tokens=draw.integer(params.min_output, params.max_output, "output", document, question),
        )


class MixedSizesParams(OutputRange):
    """Parameters of `mixed_sizes`. Lengths are tokens."""

    prompts: Annotated[int, WIDTH] = Field(default=40, ge=1, le=1_000_000)
    """Distinct prompts; each is sent once before any is repeated."""
    large_share: float = Field(default=0.2, ge=0.0, le=1.0)
    min_small_tokens: Annotated[int, LENGTH] = Field(default=8, ge=NUMBER_TOKENS)
    max_small_tokens: Annotated[int, LENGTH] = Field(default=96, ge=NUMBER_TOKENS)
    min_large_tokens: Annotated[int, LENGTH] = Field(default=256, ge=NUMBER_TOKENS)
    max_large_tokens: Annotated[int, LENGTH] = Field(default=640, ge=NUMBER_TOKENS)
    lengths: Lengths = "lognormal"

    @model_validator(mode="after")
    def _sizes_in_order(self) -> MixedSizesParams:
        if self.min_small_tokens > self.max_small_tokens or self.min_large_tokens > self.max_large_tokens:
            raise ValueError("the least length of a size is larger than the most")
        return self


class MixedSizes(OneShot):
    """Many short prompts and a few long ones: what waits behind a long prompt shows how the server shares.

    Each round asks every prompt once, in an order of its own, so that the sizes mix.
    """

    def __init__(self, params: MixedSizesParams, name: str, seed: int) -> None:
        self._params = params
        self._name = name
        self._draw = Draw.of(seed, name, params)

    @property
    def distinct(self) -> int:
        """Number of distinct prompts."""
        return self._params.prompts

    @property
    def longest(self) -> int:
        """The most tokens of a prompt with its answer."""
        params = self._params
        return max(params.max_small_tokens, params.max_large_tokens) + params.max_output

    def request(self, index: int) -> Prompt:
        """The prompt of a request, by its index in the workload."""
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


class UniqueParams(OutputRange):
    """Parameters of `unique`. Lengths are tokens."""

    prompt_tokens: Annotated[int, LENGTH] = Field(default=256, ge=NUMBER_TOKENS)


class Unique(OneShot):
    """Prompts that share nothing, not even their first block: the load that no cache helps.

    The index is spelled in the first tokens, so the first blocks of two prompts always differ.
    """

    def __init__(self, params: UniqueParams, name: str, seed: int) -> None:
        self._params = params
        self._name = name
        self._draw = Draw.of(seed, name, params)

    @property
    def distinct(self) -> None:
        """None: no prompt is repeated."""
        return None

    @property
    def longest(self) -> int:
        """The most tokens of a prompt with its answer."""
        return self._params.prompt_tokens + self._params.max_output

    def request(self, index: int) -> Prompt:
        """The prompt of a request, by its index in the workload."""
        params, draw = self._params, self._draw
        rest = draw.tokens(params.prompt_tokens - NUMBER_TOKENS, "prompt", index)
        return Prompt(
            prompt_id=f"{self._name}-{index}",
            token_ids=number_tokens(index) + rest,
            max_tokens=draw.integer(params.min_output, params.max_output, "output", index),
        )


WORKLOADS = (
    WorkloadKind("long_document", LongDocumentParams, LongDocument),
    WorkloadKind("mid_prefill_preemption", MidPrefillPreemptionParams, MidPrefillPreemption),
    WorkloadKind("mixed_sizes", MixedSizesParams, MixedSizes),
    WorkloadKind(SHARED, SharedPrefixParams, SharedPrefix),
    WorkloadKind("unique", UniqueParams, Unique),
)
