"""What the times of a request are called, and from which clock to which. Everything takes them from here.

A request is scheduled by the arrival process, and sent when the client gets to it. A server that freezes
holds back the client too: from the send time that looks like few slow requests (coordinated omission). So
every latency counts from the scheduled time, unless its name says "from send". All are of good answers.
docs/metrics.md has the names of other tools, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import sub

from history.records import RequestRecord

NS_PER_MS = 1e6
US_PER_MS = 1e3


def schedule_lag_ms(record: RequestRecord) -> float:
    """From the scheduled time to the send time: the client's own delay, or its wait for a free slot."""
    return (record.start_ns - record.intended_ns) / NS_PER_MS


def ttft_ms(record: RequestRecord) -> float | None:
    """Time to first token: to the first event that carried tokens; None without one."""
    first = ttft_from_send_ms(record)
    return None if first is None else schedule_lag_ms(record) + first


def ttft_from_send_ms(record: RequestRecord) -> float | None:
    return None if record.first_us is None else record.first_us / US_PER_MS


def e2el_ms(record: RequestRecord) -> float:
    """End-to-end latency: to the end of the answer."""
    return schedule_lag_ms(record) + e2el_from_send_ms(record)


def e2el_from_send_ms(record: RequestRecord) -> float:
    return record.end_us / US_PER_MS


def tpot_ms(record: RequestRecord) -> float | None:
    """Time per output token: from the first event with tokens to the last, over the tokens but one.

    None with fewer than two tokens, and where several answers come in one stream.
    """
    tokens = sum(record.chunk_tokens)
    if tokens < 2 or record.choices > 1:
        return None
    return (record.chunk_us[-1] - record.chunk_us[0]) / (tokens - 1) / US_PER_MS


def itl_us(record: RequestRecord) -> Iterator[int]:
    """Inter-token latencies: between the events that carried tokens. Of many requests: history/itl.py.

    None where several answers come in one stream, whose events say nothing about any of them.
    """
    if record.choices == 1:
        yield from map(sub, record.chunk_us[1:], record.chunk_us)
