"""Azure's LLM inference traces: CSV with the columns TIMESTAMP, ContextTokens and GeneratedTokens.

The time is a date and time of day; without a zone it is taken as UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from loadtests.traces.entry import Entry, Format, MalformedLine, Parse, checked, columns, pick, whole

NAMES = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NS_PER_US = 1000


def _parser(header: str) -> Parse:
    indices = columns(header, NAMES)

    def parse(line: str) -> Entry:
        time, prompt, output = pick(line, indices)
        return checked(
            Entry(
                at_ns=_time_ns(time),
                prompt_tokens=whole(prompt, NAMES[1]),
                output_tokens=whole(output, NAMES[2]),
            )
        )

    return parse


def _time_ns(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedLine(f"{NAMES[0]} {text!r} is no date and time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // timedelta(microseconds=1) * NS_PER_US


FORMAT = Format(parser=_parser, has_header=True)
