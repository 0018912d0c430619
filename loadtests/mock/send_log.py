"""The mock server's log of what it sent: one line of JSON for each request."""

from __future__ import annotations

from pathlib import Path

import msgspec

from history.records import Record, Time, Whole
from loadtests.mock.settings import End


class SentRecord(Record, frozen=True, kw_only=True):
    """Written once, when the answer ended. All times are the host's monotonic clock, ns.

    `sent_ns` is read just before the bytes are handed to the kernel, so no client can have them earlier.
    """

    id: str
    """The request's X-Request-Id; a number of the server's own where it had none."""
    connection: Whole
    """Which of the server's connections, counted from 0."""
    prompt_tokens: Whole
    received_ns: Time
    """When the whole request was there."""
    due_ns: list[Time]
    """When each event with tokens was to be sent, by the schedule."""
    sent_ns: list[Time]
    """When each event with tokens was sent, of several choices one after the other."""
    event_tokens: list[Whole]
    end: End
    end_ns: Time
    left: bool
    """The client was gone before the end, or the server was stopped."""
    blocked: Whole
    """How often the kernel did not take all at once: the client did not keep up with reading."""


def read_sent(path: Path) -> dict[str, SentRecord]:
    """By request id. Raises OSError; ValueError (msgspec's too) for a bad line or an id that stands twice."""
    decoder = msgspec.json.Decoder(SentRecord)
    found: dict[str, SentRecord] = {}
    for line in path.read_bytes().splitlines():
        record = decoder.decode(line)
        if record.id in found:
            raise ValueError(f"{path.name}: request {record.id} stands there twice")
        found[record.id] = record
    return found
