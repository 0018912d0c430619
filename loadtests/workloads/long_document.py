"""Long documents with many questions to each. Before a document comes back, all the others are read."""

from __future__ import annotations

from pydantic import Field, model_validator

from loadtests.workloads.lengths import Lengths, length
from loadtests.workloads.prompt import Prompt
from loadtests.workloads.workload import NUMBER_TOKENS, Draw, OneShot, OutputRange, in_rounds, number_tokens


class LongDocumentParams(OutputRange):
    documents: int = Field(default=6, ge=1, le=1_000_000)
    document_tokens: int = Field(default=480, ge=1)
    """This long, or between `min_document_tokens` and this."""
    min_document_tokens: int | None = Field(default=None, ge=1)
    lengths: Lengths = "uniform"
    questions: int = Field(default=5, ge=1, le=1_000_000)
    """To each document."""
    question_tokens: int = Field(default=16, ge=NUMBER_TOKENS)
    min_output: int = Field(default=4, ge=1)
    max_output: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _lengths_in_order(self) -> LongDocumentParams:
        if self.min_document_tokens is not None and self.min_document_tokens > self.document_tokens:
            raise ValueError("min_document_tokens is larger than document_tokens")
        return self


class LongDocument(OneShot):
    """A round asks one question of each document, the documents in an order of its own."""

    def __init__(self, params: LongDocumentParams, name: str, seed: int) -> None:
        self._params = params
        self._name = name
        self._draw = Draw.of(seed, name, params)

    @property
    def distinct(self) -> int:
        return self._params.documents * self._params.questions

    @property
    def longest(self) -> int:
        params = self._params
        return params.document_tokens + params.question_tokens + params.max_output

    def request(self, index: int) -> Prompt:
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
