"""A schedule that waits for the answers measures the client's patience, not the server."""

from __future__ import annotations

import os
import signal
import statistics
import time
from pathlib import Path

from history.latency import Quantiles, schedule_lag_ms
from history.phase_spec import Arrivals, Bursts, Constant, Poisson
from history.records import RequestRecord
from loadtests.arrival_schedule import schedule
from loadtests.mock.mock_process import Fixed, MockServer, Settings
from tests.fakes.openai_server import Behaviour, FakeServer, ReceivedRequest
from tests.support.load_processes import PATIENCE_S, loaders, phase, records, wait_for, write_plan

FREEZE_S = 1.0
STOPPED_S = 3.0
FAST = Constant(kind="constant", rate=50)


def play(
    folder: Path,
    server: FakeServer,
    arrivals: Arrivals,
    *,
    requests: int = 40,
    concurrency: int = 100,
) -> list[RequestRecord]:
    """All records of one phase, in the order of their indices."""
    with loaders(folder, write_plan(folder, server.url)) as load:
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=requests, concurrency=concurrency, arrivals=arrivals))
        assert load.wait_done(PATIENCE_S)
        assert load.failures() == []
    return in_order(folder)


def in_order(folder: Path) -> list[RequestRecord]:
    return sorted(records(folder), key=lambda record: int(record.id.removeprefix("load-")))


def freeze_from(request: str) -> FakeServer:
    """A server that answers nothing for a while, beginning with this request."""
    thaw_at: list[float] = []

    def answer(received: ReceivedRequest) -> Behaviour:
        if received.headers["x-request-id"] == request:
            thaw_at.append(time.monotonic() + FREEZE_S)
        if thaw_at:
            time.sleep(max(0.0, thaw_at[0] - time.monotonic()))
        return Behaviour()

    return FakeServer(answer)


def intended(found: list[RequestRecord]) -> list[int]:
    """Times at which the requests were due, from the first, ns."""
    return [record.scheduled_ns - found[0].scheduled_ns for record in found]


def planned(arrivals: Arrivals, requests: int = 40) -> list[int]:
    made = schedule(arrivals, requests, seed=1, phase="load")
    assert made is not None
    return [int(time) for time in made - made[0]]


def test_no_request_is_sent_before_it_is_due(tmp_path: Path) -> None:
    with FakeServer() as server:
        found = play(tmp_path, server, FAST)
    assert all(record.start_ns >= record.scheduled_ns for record in found)
    assert not any(record.client_queued for record in found)


def test_paused_server_raises_latency_and_keeps_arrivals(tmp_path: Path) -> None:
    with freeze_from("load-10") as server:
        found = play(tmp_path, server, FAST, requests=100)
    assert intended(found) == planned(FAST, 100)
    assert not any(record.client_queued for record in found)
    ttft = Quantiles.of(schedule_lag_ms(record) + (record.first_us or 0) / 1000 for record in found)
    assert ttft.p99 is not None
    assert ttft.p99 > 0.9 * FREEZE_S * 1000
    # Those sent into the freeze wait for its end: the later, the shorter.
    assert found[30].end_us > found[50].end_us + 200_000


def test_server_stopped_for_3_s_raises_latency_and_keeps_arrivals(tmp_path: Path) -> None:
    poisson = Poisson(kind="poisson", rate=40)
    with (
        MockServer(Settings(ttft=Fixed(ms=5), itl=Fixed(ms=1)), tmp_path / "sent.jsonl") as server,
        loaders(tmp_path, write_plan(tmp_path, server.url)) as load,
    ):
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=400, concurrency=400, arrivals=poisson))
        wait_for(lambda: load.progress().ok >= 10)
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        os.kill(server.pid, signal.SIGCONT)
        assert load.wait_done(PATIENCE_S)
    found = in_order(tmp_path)
    assert {record.outcome for record in found} == {"ok"}
    assert intended(found) == planned(poisson, 400)
    # And they were really sent then, those of the stop among them.
    assert not any(record.client_queued for record in found)
    assert statistics.median(schedule_lag_ms(record) for record in found) < 1000
    from_due = Quantiles.of(schedule_lag_ms(record) + (record.first_us or 0) / 1000 for record in found)
    assert from_due.p99 is not None
    assert from_due.p99 > 0.9 * STOPPED_S * 1000


def test_wait_for_the_concurrency_bound_is_recorded_and_counts_in_latency(tmp_path: Path) -> None:
    with freeze_from("load-10") as server:
        found = play(tmp_path, server, FAST, requests=60, concurrency=4)
    assert intended(found) == planned(FAST, 60)
    queued = [record for record in found if record.client_queued]
    # Four are in flight, and at 50 a second the freeze holds up most of the rest.
    assert len(queued) > 20
    assert not any(record.client_queued for record in found[:4])
    real = statistics.median(record.end_us / 1000 for record in queued)
    due = statistics.median(schedule_lag_ms(record) + record.end_us / 1000 for record in queued)
    assert due > real + 100


def test_burst_above_the_concurrency_bound_is_delayed(tmp_path: Path) -> None:
    bursts = Bursts(kind="bursts", size=6, every_s=0.5)
    with FakeServer(Behaviour(token_s=0.01)) as server:
        found = play(tmp_path, server, bursts, requests=12, concurrency=4)
    assert sum(record.client_queued for record in found) == 4


def test_stop_ends_the_wait_for_scheduled_requests(tmp_path: Path) -> None:
    slow = Constant(kind="constant", rate=0.01)
    with FakeServer() as server, loaders(tmp_path, write_plan(tmp_path, server.url)) as load:
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=5, concurrency=5, arrivals=slow))
        wait_for(lambda: load.progress().ok == 1)
        began = time.monotonic()
        load.stop_phase("measured")
        assert load.wait_done(PATIENCE_S)
        assert time.monotonic() - began < 50
        assert load.progress().sent == 1
    assert len(records(tmp_path)) == 1


def test_pause_in_the_schedule_is_no_stall(tmp_path: Path) -> None:
    """The age of the last token counts from the request that broke the quiet."""
    ages: list[float] = []

    def think(received: ReceivedRequest) -> Behaviour:
        time.sleep(1.0)
        return Behaviour()

    with FakeServer(think) as server, loaders(tmp_path, write_plan(tmp_path, server.url)) as load:
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=2, concurrency=2, arrivals=Constant(kind="constant", rate=0.2)))
        while not load.done():
            counts = load.progress()
            if counts.in_flight:
                ages.append(counts.last_token_age_s)
            time.sleep(0.02)
    assert 0.5 < max(ages) < 2.5
