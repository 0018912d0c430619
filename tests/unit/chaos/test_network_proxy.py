"""The proxy between client and server: the client sees what is struck, to the millisecond, and nothing else.

The server is the mock, which sends on an exact schedule and logs when. Lower bounds are exact. Upper bounds
tell one delay from another and leave room for a slow machine: delays are long, the best of many times counts.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.outside.network.impairments import PACE_S
from chaos.outside.network.proxy_control import (
    CutCommand,
    DelayCommand,
    LoseCommand,
    ProxyEffect,
    ProxyFailed,
    ProxyReport,
    ReadSlowlyCommand,
    RevertCommand,
    StallCommand,
)
from history.protocol.outside import BytesDelayed
from history.records import RequestRecord
from loadtests.mock.mock_process import Fixed, Settings
from tests.support.fake_server_runs import wait_for
from tests.support.proxied_server import ITL_MS, MS, TTFT_MS, Bench, gaps_ms, proxied

LATE_MS = 100.0
"""Of the best of many times."""
BUSY_MS = 250.0
"""Of any."""
HUNG_UP = {"ReadError", "WriteError", "RemoteProtocolError"}
"""What a client calls it, by what it was about just then."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with proxied(tmp_path_factory.mktemp("network")) as bench:
        yield bench


def ids(what: str, count: int) -> list[str]:
    return [f"{what}-{number}" for number in range(count)]


def requests(report: ProxyReport) -> set[str]:
    return set(effect(report).named)


def failure(record: RequestRecord) -> str:
    assert record.outcome == "error"
    assert record.error is not None
    return record.error.kind


def effect(report: ProxyReport) -> ProxyEffect:
    assert report.effect is not None
    return report.effect


def delayed(report: ProxyReport) -> BytesDelayed:
    assert report.delayed is not None
    return report.delayed


def test_idle_proxy_adds_negligible_latency(bench: Bench) -> None:
    assert TTFT_MS <= bench.quickest_ms("plain", TTFT_MS + LATE_MS) <= TTFT_MS + LATE_MS


def test_latency_is_added_in_both_directions_and_keeps_token_gaps(bench: Bench) -> None:
    whole_ms = 400 + TTFT_MS + 200
    bench.network.send(DelayCommand(strike="late", seed=1, up_ms=400, down_ms=200, jitter_ms=0))
    quickest = bench.quickest_ms("late", whole_ms + LATE_MS)
    bench.network.send(RevertCommand(strike="late"))
    undone = bench.reported("undone", "late")
    assert whole_ms <= quickest <= whole_ms + LATE_MS
    late = [record for record in bench.client.records if record.id.startswith("late-")]
    assert min(sum(gaps_ms(record)) for record in late) <= 9 * ITL_MS + BUSY_MS
    assert set(ids("late", 4)) <= requests(undone)
    assert 200.0 <= delayed(undone).shortest_ms <= 200.0 + LATE_MS
    assert delayed(undone).longest_ms >= 400.0


def test_stalled_bytes_are_delivered_after_the_stall(bench: Bench) -> None:
    with bench.client.completing(*ids("stall", 2), tokens=40):
        wait_for(lambda: bench.began(*ids("stall", 2)))
        bench.network.send(StallCommand(strike="stall"))
        begun = bench.reported("struck", "stall")
        time.sleep(0.5)
        bench.network.send(RevertCommand(strike="stall"))
    ended = bench.reported("undone", "stall")
    for record in (bench.client.record(name) for name in ids("stall", 2)):
        assert record.outcome == "ok"
        came_ns = [record.start_ns + us * 1000 for us in record.chunk_us]
        # What was in the client's kernel already may be read a little later.
        assert not [t_ns for t_ns in came_ns if begun.t_ns + BUSY_MS * MS < t_ns < ended.t_ns]
        assert max(gaps_ms(record)) >= (ended.t_ns - begun.t_ns) / MS - BUSY_MS
    assert requests(ended) == set(ids("stall", 2))
    assert delayed(ended).waiting == 0
    assert delayed(ended).longest_ms >= 500.0


def test_client_disconnect_is_not_forwarded_during_a_stall(bench: Bench) -> None:
    bench.network.send(StallCommand(strike="deaf"))
    with bench.left_by_client("deaf"):
        wait_for(lambda: bench.reported("struck", "deaf") is not None)
    time.sleep(0.2)
    assert "deaf" not in bench.mock.sent()
    bench.network.send(RevertCommand(strike="deaf"))
    wait_for(lambda: "deaf" in bench.mock.sent())
    sent, undone = bench.mock.sent()["deaf"], bench.reported("undone", "deaf")
    assert sent.left
    assert sent.received_ns >= undone.mono_ns - BUSY_MS * MS


def _longest_wait_ms(record: RequestRecord) -> float:
    """Of a request, for its first token or between two events."""
    assert record.first_us is not None
    return max(record.first_us / 1000, *gaps_ms(record))


def test_lost_bytes_delay_themselves_and_all_later_ones_by_a_retransmission(bench: Bench) -> None:
    bench.network.send(LoseCommand(strike="loss", seed=1, share=0.3, again_ms=500))
    records = bench.client.complete(*ids("loss", 2))
    bench.network.send(RevertCommand(strike="loss"))
    undone = bench.reported("undone", "loss")
    assert [record.outcome for record in records] == ["ok", "ok"]
    assert delayed(undone).shortest_ms >= 500.0
    # The server sends in time. What came late is one piece at least, perhaps the first.
    assert max(_longest_wait_ms(record) for record in records) >= 500.0 - BUSY_MS


def test_cut_resets_open_connections_on_both_sides_at_once(bench: Bench) -> None:
    with bench.client.completing(*ids("cut", 2), tokens=300):
        wait_for(lambda: bench.began(*ids("cut", 2)))
        bench.network.send(CutCommand(strike="cut"))
        struck = bench.reported("struck", "cut")
        (refused,) = bench.client.complete("refused")
    bench.network.send(RevertCommand(strike="cut"))
    assert requests(struck) == set(ids("cut", 2))
    cut = bench.reported("undone", "cut").cut
    assert cut is not None
    assert cut.refused == 1
    assert {failure(bench.client.record(name)) for name in ids("cut", 2)} <= HUNG_UP
    # The reset may come before the client's kernel has told it that it is connected.
    assert failure(refused) in HUNG_UP | {"ConnectError"}
    wait_for(lambda: set(ids("cut", 2)) <= set(bench.mock.sent()))
    for sent in (bench.mock.sent()[name] for name in ids("cut", 2)):
        assert sent.left
        assert abs(sent.end_ns - struck.mono_ns) <= 5_000 * MS
    assert "refused" not in bench.mock.sent()
    assert [record.outcome for record in bench.client.complete("after-cut")] == ["ok"]


def test_client_disconnect_is_forwarded_at_once(bench: Bench) -> None:
    with bench.left_by_client("leaves"):
        wait_for(lambda: bench.began("leaves"))
        left_ns = time.monotonic_ns()
    wait_for(lambda: "leaves" in bench.mock.sent())
    sent = bench.mock.sent()["leaves"]
    assert sent.left
    assert sent.end_ns - left_ns <= 5_000 * MS


def test_proxy_forwards_bytes_unchanged(tmp_path: Path) -> None:
    long = list(range(256)) * 800
    with proxied(tmp_path) as bench:
        direct, through = (bench.exchange(port, long) for port in (bench.mock_port, bench.port))
    assert len(direct) > 500_000
    assert through == direct


def test_slow_reader_delays_its_answer_and_not_the_next(tmp_path: Path) -> None:
    rate = 30_000.0
    with proxied(tmp_path, Settings(ttft=Fixed(ms=1), itl=Fixed(ms=0.5))) as bench:
        bench.network.send(ReadSlowlyCommand(strike="slow", requests=1, bytes_per_s=rate))
        (slow,) = bench.client.complete("slow", tokens=250)
        others_ms = bench.quickest_ms("other", 50.0, tokens=250)
        bench.network.send(RevertCommand(strike="slow"))
        struck, undone = bench.reported("struck", "slow"), bench.reported("undone", "slow")
        sent = bench.mock.sent()
    assert slow.outcome == "ok"
    slow_read = undone.slow
    assert slow_read is not None
    size = slow_read.bytes
    # The last read is over before its pause.
    assert (size / rate - 2 * PACE_S) * 1e6 <= slow.end_us <= (size / rate + 2.0) * 1e6
    assert slow_read.unread_ms >= 0.8 * size / rate * 1000
    assert others_ms <= 50.0
    assert requests(struck) == {"slow"}
    # It is the server that had to wait, and not the proxy that kept the answer.
    assert sent["slow"].blocked > 0


def test_refused_server_connection_closes_the_client_connection(tmp_path: Path) -> None:
    with proxied(tmp_path) as bench:
        assert [record.outcome for record in bench.client.complete("up")] == ["ok"]
        bench.mock.__exit__(None, None, None)
        (record,) = bench.client.complete("down")
    assert record.outcome == "error"
    assert record.end_us < 5_000_000


@pytest.mark.parametrize("how", ["stdin", "SIGTERM"])
def test_proxy_exits_with_its_parent_and_resets_open_connections(tmp_path: Path, how: str) -> None:
    with proxied(tmp_path) as bench:
        with bench.client.completing("last", tokens=300):
            wait_for(lambda: bench.began("last"))
            if how == "stdin":
                bench.network.close()
            else:
                bench.process.send_signal(signal.SIGTERM)
            assert bench.process.wait(10.0) == 0
        assert bench.client.record("last").outcome == "error"


def test_unknown_command_ends_the_proxy(tmp_path: Path) -> None:
    with proxied(tmp_path) as bench:
        assert bench.process.stdin is not None
        bench.process.stdin.write(b'{"do":"explode","strike":"s"}\n')
        bench.process.stdin.flush()
        assert bench.process.wait(10.0) == 3
        with pytest.raises(ProxyFailed):
            bench.network.send(CutCommand(strike="late"))


def test_proxy_binds_loopback_only(bench: Bench) -> None:
    with socket.socket() as probe, pytest.raises(OSError, match="refused"):
        probe.connect(("127.0.0.2", bench.port))
