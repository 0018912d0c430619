"""This software's own: JSON Lines with at_s, prompt_tokens, output_tokens and, where known, blocks."""

from __future__ import annotations

import msgspec

from loadtests.traces.entry import NS_PER_S, Entry, Format, MalformedLine, Parse, checked


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """`blocks` names those that the prompt begins with; equal names are equal blocks."""

    at_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: list[int | str] = msgspec.field(default_factory=list)


_DECODER = msgspec.json.Decoder(Line)


def parse(line: str) -> Entry:
    try:
        told = _DECODER.decode(line)
    except msgspec.MsgspecError as error:
        raise MalformedLine(str(error)) from error
    return checked(
        Entry(
            at_ns=round(told.at_s * NS_PER_S),
            prompt_tokens=told.prompt_tokens,
            output_tokens=told.output_tokens,
            blocks=tuple(told.blocks),
        )
    )


def _parser(first: str) -> Parse:
    return parse


FORMAT = Format(parser=_parser, has_header=False)
