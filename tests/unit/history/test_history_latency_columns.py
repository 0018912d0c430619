"""The latencies of many requests at a time are those of each request, to the last bit."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from history.latency import (
    Quantiles,
    e2el_from_send_ms,
    e2el_ms,
    latencies,
    schedule_lag_ms,
    ttft_from_send_ms,
    ttft_ms,
)
from history.records import RequestRecord
from tests.support.synthetic_records import SECOND, START_NS, good_request

OFFSET_NS = st.integers(0, 1000 * SECOND)
US = st.integers(0, 2**40)


@st.composite
def requests(draw: st.DrawFn) -> RequestRecord:
    due_ns = START_NS + draw(OFFSET_NS)
    return replace(
        good_request("one", "prompt", "load", START_NS),
        scheduled_ns=due_ns,
        start_ns=due_ns + draw(OFFSET_NS),
        end_us=draw(US),
        first_us=draw(st.none() | US),
    )


@given(st.lists(requests(), max_size=12))
def test_latencies_of_many_requests_equal_those_of_each(records: list[RequestRecord]) -> None:
    found = latencies(records)
    assert found.schedule_lag.tolist() == list(map(schedule_lag_ms, records))
    assert _known(found.ttft.tolist()) == list(map(ttft_ms, records))
    assert _known(found.ttft_from_send.tolist()) == list(map(ttft_from_send_ms, records))
    assert found.e2el.tolist() == list(map(e2el_ms, records))
    assert found.e2el_from_send.tolist() == list(map(e2el_from_send_ms, records))


@given(st.lists(requests(), max_size=12))
def test_a_request_without_a_token_does_not_count_in_the_quantiles(records: list[RequestRecord]) -> None:
    known = [time for record in records if (time := ttft_ms(record)) is not None]
    assert Quantiles.of(latencies(records).ttft) == Quantiles.of(known)


def _known(times: list[float]) -> list[float | None]:
    return [None if math.isnan(time) else time for time in times]
