"""Request records that take little memory, so that a run of a million requests fits.

A number in a list is an object of 24 bytes or more and a pointer to it. Equal answers to one prompt are kept
once: in a run in which all is well most of them are equal.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from msgspec.structs import force_setattr

from history.records import RequestRecord

Value = TypeVar("Value", bound=Hashable)


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
        self._shared: dict[Hashable, Hashable] = {}
        self._rhythms: dict[tuple[str, bytes], Numbers] = {}
        self._answers: dict[str, tuple[str, Numbers, Numbers]] = {}
        """By prompt: its id, token ids and logprobs of its last answer."""

    def pack(self, record: RequestRecord) -> RequestRecord:
        for name in ("phase", "usage", "finish_reason", "first_block"):
            force_setattr(record, name, self._share(getattr(record, name)))
        force_setattr(record, "chunk_us", _wholes(record.chunk_us))
        tokens = _wholes(record.chunk_tokens)
        force_setattr(
            record, "chunk_tokens", self._rhythms.setdefault((tokens.typecode, tokens.tobytes()), tokens)
        )
        self._pack_answer(record)
        return record

    def _share(self, value: Value) -> Value:
        return self._shared.setdefault(value, value)  # type: ignore[return-value]

    def _pack_answer(self, record: RequestRecord) -> None:
        prompt, token_ids, logprobs = (
            record.prompt_id,
            _wholes(record.token_ids),
            Numbers("d", record.logprobs),
        )
        known = self._answers.get(prompt)
        if known is not None:
            prompt = known[0]
            # By their bytes: to equal 0.0 is not yet to be told as such.
            if known[1] == token_ids and known[2].tobytes() == logprobs.tobytes():
                _, token_ids, logprobs = known
        self._answers[prompt] = (prompt, token_ids, logprobs)
        force_setattr(record, "prompt_id", prompt)
        force_setattr(record, "token_ids", token_ids)
        force_setattr(record, "logprobs", logprobs)


def _wholes(values: Sequence[int]) -> Numbers:
    """In four bytes each where that is enough, else in eight."""
    try:
        return Numbers("I", values)
    except OverflowError:
        return Numbers("q", values)
