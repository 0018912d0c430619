"""A fault of the network is believed by what clients and server show, not by its injector's word."""

from __future__ import annotations

import pytest

from history.records import RequestRecord
from tests.support.outside_fault_phase import Struck, answered, failed


def cut(first: RequestRecord | None = None) -> Struck:
    """Two requests were on their way, one came while the line was down, one later."""
    requests = [
        first or failed("chaos-1", 500, 2010),
        failed("chaos-2", 900, 2015, status=None),
        failed("chaos-3", 2200, 2210, status=None),
        answered("chaos-4", 3000, 3050),
    ]
    struck = Struck("network_cut", requests)
    struck.strike(2000, connections=2, requests=["chaos-1", "chaos-2"])
    struck.undo(2500, connections=2, refused=1, requests=["chaos-1", "chaos-2"])
    return struck


def test_cut_is_effective_by_failed_requests_and_server_aborts() -> None:
    struck = cut()
    struck.give_up("chaos-2")
    assert struck.doubt() is None


def test_cut_without_server_aborts_is_not_effective() -> None:
    struck = cut()
    struck.give_up("chaos-4")
    assert struck.doubt() == "not-given-up"


@pytest.mark.parametrize(
    ("first", "doubt"),
    [
        (answered("chaos-1", 500, 2400), "answered-all-the-same"),
        (
            failed("chaos-1", 500, 2010, "InternalServerError", status=500),
            "not-failed-by-connection",
        ),
    ],
)
def test_cut_without_client_errors_is_not_effective(first: RequestRecord, doubt: str) -> None:
    assert cut(first).doubt() == doubt


def test_cut_without_open_requests_is_not_effective() -> None:
    struck = Struck("network_cut", [answered("chaos-1", 500, 900)])
    struck.strike(2000, connections=3, requests=[])
    assert struck.doubt() == "no-request"


def stall(*requests: RequestRecord) -> Struck:
    struck = Struck("network_stall", list(requests))
    struck.strike(2000, waiting=3, requests=["chaos-1"])
    struck.undo(4000, passed=9, requests=["chaos-1", "chaos-2"])
    return struck


BEFORE = answered("chaos-1", 500, 1000, 2100, 4100)
MEANWHILE = answered("chaos-2", 2500, 4050)


def test_stall_is_effective_by_silence_on_all_open_requests() -> None:
    assert stall(BEFORE, MEANWHILE).doubt() is None


@pytest.mark.parametrize(
    ("second", "doubt"),
    [
        (answered("chaos-2", 2500, 3000, 4050), "token-meanwhile"),
        (failed("chaos-2", 2500, 3000), "did-not-wait"),
    ],
)
def test_stall_with_tokens_on_one_request_is_not_effective(second: RequestRecord, doubt: str) -> None:
    assert stall(BEFORE, second).doubt() == doubt


def test_stall_without_a_recorded_end_is_not_effective() -> None:
    struck = stall(BEFORE, MEANWHILE)
    del struck.journal[1]
    assert struck.doubt() == "strike-unseen"


def late(*requests: RequestRecord) -> Struck:
    struck = Struck("network_latency", list(requests))
    struck.strike(2000, round_trip_ms=800.0, requests=["chaos-2"])
    struck.undo(8000, round_trip_ms=800.0, requests=["chaos-2"])
    return struck


QUICK = answered("chaos-1", 500, 600)
SLOW = answered("chaos-1", 500, 1400)


def test_added_latency_is_effective_by_ttft_later_by_the_round_trip() -> None:
    assert late(QUICK, answered("chaos-2", 3000, 3810)).doubt() is None


@pytest.mark.parametrize(
    ("requests", "doubt"),
    [
        ((QUICK, answered("chaos-2", 3000, 3600)), "first-token-too-soon"),
        (
            (answered("chaos-1", 500, 1400), answered("chaos-2", 3000, 3810)),
            "not-slower",
        ),
        ((QUICK, answered("chaos-2", 7500, 8400)), "no-request-meanwhile"),
    ],
)
def test_added_latency_without_later_first_tokens_is_not_effective(
    requests: tuple[RequestRecord, ...], doubt: str
) -> None:
    assert late(*requests).doubt() == doubt


def lossy(*requests: RequestRecord) -> Struck:
    struck = Struck("network_loss", list(requests))
    struck.strike(2000, shortest_ms=200.5, requests=["chaos-1"])
    struck.undo(8000, shortest_ms=200.5, requests=["chaos-1", "chaos-2"])
    return struck


def test_packet_loss_is_effective_by_a_gap_of_a_retransmission() -> None:
    steady = answered("chaos-1", 2100, 2150, 2200)
    assert lossy(steady, answered("chaos-2", 3000, 3010, 3220)).doubt() is None
    assert lossy(steady, answered("chaos-2", 3000, 3200, 3210)).doubt() is None
    assert lossy(steady, answered("chaos-2", 3000, 3100, 3200)).doubt() == "no-silence"


def slow(*requests: RequestRecord) -> Struck:
    struck = Struck("slow_reader", list(requests))
    struck.strike(2000, unread_bytes=90, unread_ms=0.1, requests=["chaos-1"])
    struck.undo(8000, unread_bytes=900, unread_ms=3000.0, requests=["chaos-1"])
    return struck


def test_slow_reader_is_effective_when_later_requests_overtake_it() -> None:
    assert slow(answered("chaos-1", 2000, 5000), answered("chaos-2", 3000, 3100)).doubt() is None


@pytest.mark.parametrize(
    ("requests", "doubt"),
    [
        ((answered("chaos-1", 2000, 4000), answered("chaos-2", 3000, 3100)), "too-quick"),
        ((answered("chaos-1", 2000, 5000), answered("chaos-2", 3000, 5100)), "none-answered-meanwhile"),
    ],
)
def test_slow_reader_without_a_slow_answer_is_not_effective(
    requests: tuple[RequestRecord, ...], doubt: str
) -> None:
    assert slow(*requests).doubt() == doubt
