"""Events in mid-stream, which nearly all are: tokens of one answer, with a logprob each, and nothing else.

They take half of the time to decode and to add up that events of any kind do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec


class TokenLogprobs(msgspec.Struct, gc=False):
    token_logprobs: list[float]
    content: None = None


class Tokens(msgspec.Struct, gc=False):
    token_ids: Annotated[list[int], msgspec.Meta(min_length=1)]
    logprobs: TokenLogprobs
    index: Literal[0] = 0
    finish_reason: None = None
    prompt_logprobs: None = None


class MidStream(msgspec.Struct, gc=False):
    """What `chunks.Chunk` knows of beside tokens is not there. The likeliest tokens are left unread."""

    choices: tuple[Tokens]
    usage: None = None
    error: None = None
    prompt_logprobs: None = None


Event = tuple[bytes, int]
"""Its data, and when it had arrived (monotonic, ns)."""
_decoder = msgspec.json.Decoder(MidStream)


@dataclass(frozen=True, slots=True)
class TokenRun:
    """What a row of such events brought."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    chunk_tokens: list[int] = field(default_factory=list)
    """Of each event,"""
    arrived_ns: list[int] = field(default_factory=list)
    """and when it had arrived."""


def extend(run: TokenRun, events: Iterator[Event]) -> Event | None:
    """By the events in mid-stream up to the first other one; gives that one, taken from the iterator.

    Raises what the iterator raises; what came before is in the run then.
    """
    decode = _decoder.decode
    token_ids, logprobs = run.token_ids, run.logprobs
    chunk_tokens, arrived_ns = run.chunk_tokens, run.arrived_ns
    for data, at_ns in events:
        try:
            (tokens,) = decode(data).choices
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return data, at_ns
        ids = tokens.token_ids
        token_ids += ids
        logprobs += tokens.logprobs.token_logprobs
        chunk_tokens.append(len(ids))
        arrived_ns.append(at_ns)
    return None
