"""Reads request lines into little memory.

The long fields of a line are decoded only where their JSON text is new: most answers to one prompt are equal,
and their numbers are half of the line. Equal values are stored once.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec.structs import astuple, force_setattr

from history import layout
from history.columnar import REAL, Numbers, packed_wholes
from history.jsonl import decoded_lines
from history.line_versions import RequestRecordV1
from history.records import RequestRecord, Usage, Whole

TEXT_BUDGET = 16 << 20
"""Bytes of text that may be kept for comparison. What comes later is decoded each time."""


def read_requests(run_dir: Path) -> list[RequestRecord]:
    """Read all request lines of a run, file by file. Raises UnreadableRun."""
    packer = _Packer()
    return [
        record
        for path in sorted(run_dir.glob(layout.REQUESTS_GLOB))
        for record in decoded_lines(path, _DECODER, packer.pack)
    ]


class _LongField:
    """A field that is left as JSON text by the decoder of lines, and decoded on demand."""

    def __init__(self, name: str, kind: Any) -> None:
        self.name = name
        self._decoder = msgspec.json.Decoder(kind)

    def decode(self, text: bytes) -> Any:
        """Raises msgspec.ValidationError, with the field's name in its message."""
        try:
            return self._decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise msgspec.ValidationError(f"{self.name}: {error}") from error


CHUNK_TOKENS = _LongField("chunk_tokens", list[Whole])
TOKEN_IDS = _LongField("token_ids", list[Whole])
LOGPROBS = _LongField("logprobs", list[float])
USAGE = _LongField("usage", Usage | None)


def _are_equal(record: RequestRecord, other: object) -> bool:
    return isinstance(other, RequestRecord) and astuple(record) == astuple(other)


def _with_raw_fields(kind: type[RequestRecord]) -> type[RequestRecord]:
    """The type as decoded: with its long fields as text. The packer replaces them by what they stand for."""
    fields = [(field.name, msgspec.Raw) for field in (CHUNK_TOKENS, TOKEN_IDS, LOGPROBS, USAGE)]
    made = msgspec.defstruct(
        kind.__name__,
        fields,
        bases=(kind,),
        # A msgspec.Struct equals no instance of another class, not even of its base.
        namespace={"__eq__": _are_equal, "__hash__": None},
        module=__name__,
        frozen=True,
        eq=False,
        kw_only=True,
        tag=kind.__struct_config__.tag,
    )
    return cast(type[RequestRecord], made)


_DECODER: msgspec.json.Decoder[RequestRecord] = msgspec.json.Decoder(
    _with_raw_fields(RequestRecord) | _with_raw_fields(RequestRecordV1)
)


class _Packer:
    def __init__(self) -> None:
        self._small: dict[Hashable, Any] = {}
        """Small values that many records have, by themselves."""
        self._usages: dict[bytes, Usage | None] = {}
        self._rhythms: dict[bytes, Numbers] = {}
        """Tokens by event. Most streams have one in each."""
        self._answers: dict[str, _PackedAnswer] = {}
        """The last answer of each prompt."""
        self._text_left = TEXT_BUDGET

    def pack(self, record: RequestRecord) -> RequestRecord:
        """Decode what was left as text, and pack all numbers. Raises msgspec.ValidationError."""
        share = self._small.setdefault
        decoded: Any = record  # Its long fields are msgspec.Raw here.
        force_setattr(record, "phase", share(record.phase, record.phase))
        force_setattr(record, "finish_reason", share(record.finish_reason, record.finish_reason))
        force_setattr(record, "first_block", share(record.first_block, record.first_block))
        force_setattr(record, "marker", share(record.marker, record.marker))
        force_setattr(record, "usage", self._usage(bytes(decoded.usage)))
        force_setattr(record, "chunk_us", packed_wholes(record.chunk_us))
        force_setattr(record, "chunk_tokens", self._rhythm(bytes(decoded.chunk_tokens)))
        answer = self._answer(record.prompt_id, bytes(decoded.token_ids), bytes(decoded.logprobs))
        force_setattr(record, "prompt_id", answer.prompt_id)
        force_setattr(record, "token_ids", answer.token_ids)
        force_setattr(record, "logprobs", answer.logprobs)
        margins = record.logprob_margins
        force_setattr(record, "logprob_margins", Numbers(REAL, margins) if margins else ())
        logprobs = record.prompt_logprobs
        force_setattr(record, "prompt_logprobs", Numbers(REAL, logprobs) if logprobs else ())
        return record

    def _usage(self, text: bytes) -> Usage | None:
        if text in self._usages:
            return self._usages[text]
        usage: Usage | None = USAGE.decode(text)
        usage = self._small.setdefault(usage, usage)
        if self._may_keep(text):
            self._usages[text] = usage
        return usage

    def _rhythm(self, text: bytes) -> Numbers:
        known = self._rhythms.get(text)
        if known is None:
            known = packed_wholes(CHUNK_TOKENS.decode(text))
            known = self._small.setdefault((known.typecode, known.tobytes()), known)
            if self._may_keep(text):
                self._rhythms[text] = known
        return known

    def _answer(self, prompt_id: str, token_ids: bytes, logprobs: bytes) -> _PackedAnswer:
        """That of the prompt's last answer where it is the same."""
        last = self._answers.get(prompt_id)
        if last is not None and last.has_text(token_ids, logprobs):
            return last
        answer = _PackedAnswer(
            prompt_id if last is None else last.prompt_id,
            TOKEN_IDS.decode(token_ids),
            LOGPROBS.decode(logprobs),
        )
        if last is not None and last.is_same(answer):
            return last
        if self._may_keep(token_ids + logprobs):
            answer.text = token_ids, logprobs
        self._answers[prompt_id] = answer
        return answer

    def _may_keep(self, text: bytes) -> bool:
        self._text_left -= len(text)
        return self._text_left >= 0


class _PackedAnswer:
    """Prompt id, token ids and logprobs of an answer."""

    __slots__ = ("logprobs", "prompt_id", "text", "token_ids")

    def __init__(self, prompt_id: str, token_ids: Sequence[int], logprobs: Sequence[float]) -> None:
        self.prompt_id = prompt_id
        self.token_ids, self.logprobs = packed_wholes(token_ids), Numbers(REAL, logprobs)
        self.text: tuple[bytes, bytes] | None = None
        """Text of token ids and logprobs; None where it was not kept."""

    def has_text(self, token_ids: bytes, logprobs: bytes) -> bool:
        return self.text is not None and self.text == (token_ids, logprobs)

    def is_same(self, other: _PackedAnswer) -> bool:
        """Whether both are equal to the last bit."""
        return (
            self.token_ids == other.token_ids
            # As bytes: 0.0 and -0.0 are equal, and differ in a bit.
            and self.logprobs.tobytes() == other.logprobs.tobytes()
        )
