"""Request records that take little memory, so that a run of a million requests fits.

A number in a list is an object of 24 bytes or more and a pointer to it. Equal answers to one prompt are kept
once: in a run in which all is well most of them are equal.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from msgspec.structs import force_setattr

from history.records import RequestRecord

SMALL, LARGE, REAL = "I", "q", "d"
"""Types of numbers in an array: whole ones of four bytes from 0 on, and of eight; others of eight bytes."""


# No argument of type: one class serves whole numbers and others, and before 3.12 array takes none.
class Numbers(array):  # type: ignore[type-arg]
    """Numbers without an object for each. Equal to any sequence of the same ones."""

    __slots__ = ()
    __hash__ = None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, array):
            return super().__eq__(other)
        return self.tolist() == other


def packed(records: Iterable[RequestRecord]) -> list[RequestRecord]:
    """The same records, with what they hold made small. Nobody else may hold them."""
    packer = _Packer()
    return [packer.pack(record) for record in records]


class _Packer:
    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}
        """Small values that many records have, by themselves."""
        self._rhythms: dict[tuple[str, bytes], Numbers] = {}
        """Tokens by event. Most streams have one in each."""
        self._answers: dict[str, tuple[str, Numbers, Numbers]] = {}
        """By prompt: its id, token ids and logprobs of its last answer."""

    def pack(self, record: RequestRecord) -> RequestRecord:
        share = self._known.setdefault
        force_setattr(record, "phase", share(record.phase, record.phase))
        force_setattr(record, "usage", share(record.usage, record.usage))
        force_setattr(record, "finish_reason", share(record.finish_reason, record.finish_reason))
        force_setattr(record, "first_block", share(record.first_block, record.first_block))
        force_setattr(record, "chunk_us", _wholes(record.chunk_us))
        tokens = _wholes(record.chunk_tokens)
        rhythm = self._rhythms.setdefault((tokens.typecode, tokens.tobytes()), tokens)
        force_setattr(record, "chunk_tokens", rhythm)
        answer = self._answer(record)
        force_setattr(record, "prompt_id", answer[0])
        force_setattr(record, "token_ids", answer[1])
        force_setattr(record, "logprobs", answer[2])
        for name in ("gaps", "prompt_logprobs"):
            values = getattr(record, name)
            force_setattr(record, name, Numbers(REAL, values) if values else ())
        return record

    def _answer(self, record: RequestRecord) -> tuple[str, Numbers, Numbers]:
        """Prompt id, token ids and logprobs: those of the prompt's last answer where they are the same."""
        token_ids, logprobs = _wholes(record.token_ids), Numbers(REAL, record.logprobs)
        known = self._answers.get(record.prompt_id)
        if known is not None and _same(known[1], token_ids) and _same(known[2], logprobs):
            return known
        prompt = record.prompt_id if known is None else known[0]
        answer = self._answers[record.prompt_id] = (prompt, token_ids, logprobs)
        return answer


def _same(one: Numbers, other: Numbers) -> bool:
    """Whether they hold the same bits: what equals 0.0 may still be told as -0.0."""
    return one.typecode == other.typecode and one.tobytes() == other.tobytes()


def _wholes(values: Sequence[int]) -> Numbers:
    """In four bytes each where that is enough, else in eight."""
    try:
        return Numbers(SMALL, values)
    except OverflowError:
        return Numbers(LARGE, values)
