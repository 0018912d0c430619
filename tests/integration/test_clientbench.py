"""The measurement of the client: no figure without its data, no loss unnoticed, nothing forgotten."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from history.latency import Quantiles
from history.records import ClientRecord, RequestError, RequestRecord, Usage
from kvchaos.cli.app import run
from kvchaos.clientbench.client_bench_file import (
    ClientBench,
    ClientBenchFailed,
    LoadStep,
    StepFigures,
    StepRecords,
    latest_bench,
    step_figures,
    store_bench,
    summarize,
)
from kvchaos.clientbench.measure import MeasureOptions, measure
from kvchaos.errors import UsageError
from kvchaos.paths import client_bench_folder
from loadtests.mock.mock_process import SentRecord

S, MS = 1_000_000_000, 1_000_000
STEP = LoadStep("long", 4, 3)
START_NS = 10 * S
"""Of the only request; its tokens are sent 100, 110 and 120 ms later."""


def request(worker: int = 0, late_ms: float = 1.0) -> RequestRecord:
    """One whose every token was stamped so late after it was sent, the last one twice as late."""
    at = [100 + late_ms, 110 + late_ms, 120 + 2 * late_ms]
    return RequestRecord(
        id=f"r{worker}",
        prompt_id="p",
        phase="long-1",
        worker=worker,
        prompt_tokens=1,
        max_tokens=3,
        scheduled_ns=START_NS - 2 * MS,
        start_ns=START_NS,
        start_mono_ns=START_NS,
        end_us=round(at[-1] * 1000),
        first_us=round(at[0] * 1000),
        chunk_us=[round(ms * 1000) for ms in at],
        chunk_tokens=[1, 1, 1],
        token_ids=[1, 2, 3],
        logprobs=[],
        usage=Usage(prompt_tokens=1, completion_tokens=3),
        finish_reason="length",
        status=200,
        outcome="ok",
        error=None,
    )


def sent(worker: int = 0, tokens: int = 3) -> SentRecord:
    times = [START_NS + (100 + 10 * index) * MS for index in range(tokens)]
    return SentRecord(
        id=f"r{worker}",
        connection=0,
        prompt_tokens=1,
        received_ns=START_NS,
        due_ns=[time - MS for time in times],
        sent_ns=times,
        event_tokens=[1] * tokens,
        end="whole",
        end_ns=times[-1],
        left=False,
        blocked=0,
    )


def client_record(end_s: float, worker: int = 0, cpu_us: int = 300_000) -> ClientRecord:
    return ClientRecord(
        t_ns=round(end_s * S),
        mono_ns=round(end_s * S),
        worker=worker,
        phase="long-1",
        wall_us=1_000_000,
        cpu_us=cpu_us,
        event_loop_lag_us=[500, 1500],
        gc_pause_us=[],
        connections=1,
    )


def taken(
    *requests: RequestRecord, client: list[ClientRecord] | None = None, stopped_s: float = 11.5
) -> StepRecords:
    records = [client_record(9.5), client_record(10.5), client_record(11.5)] if client is None else client
    log = {f"r{worker}": sent(worker) for worker in range(2)}
    return StepRecords(requests or (request(),), records, log, round(stopped_s * S), 0.25)


def test_rates_and_cpu_time_cover_the_same_interval() -> None:
    found = step_figures(STEP, taken())
    assert found.window_s == 2.0
    assert (found.events_per_s, found.requests_per_s) == (1.5, 0.5)
    assert found.cpu_us_per_event == 600_000 / 3
    assert found.client_cpu == pytest.approx(0.3)


def test_warm_up_and_ramp_down_events_are_not_counted() -> None:
    early = step_figures(STEP, taken(client=[client_record(10.5), client_record(11.5)]))
    late = step_figures(
        STEP, taken(client=[client_record(8.5), client_record(9.5), client_record(10.5)], stopped_s=9.9)
    )
    assert early.events_per_s == late.events_per_s == 0
    assert early.cpu_us_per_event is None


def test_client_errors_are_the_difference_to_server_times() -> None:
    found = step_figures(STEP, taken(request(late_ms=4.0)))
    assert found.ttft_error_ms == Quantiles(4.0, 4.0)
    # One gap is told right, the other 4 ms too long.
    assert found.itl_error_ms == Quantiles(0.0, 4.0)
    assert found.late_ms == Quantiles(2.0, 2.0)
    assert found.server_late_ms == Quantiles(1.0, 1.0)
    assert found.lag_ms == Quantiles(0.5, 1.5)


def test_worker_rates_are_summed_and_the_busiest_cpu_is_reported() -> None:
    client = [
        client_record(end, worker, cpu) for worker, cpu in ((0, 300_000), (1, 900_000)) for end in (9.5, 10.5)
    ]
    found = step_figures(STEP, taken(request(0), request(1), client=client))
    assert (found.events_per_s, found.client_cpu) == (6.0, 0.9)
    assert found.cpu_us_per_event == 1_200_000 / 6


def test_a_worker_that_had_nothing_to_do_is_no_gap() -> None:
    client = [client_record(9.5), client_record(10.5), client_record(9.6, worker=1)]
    assert step_figures(STEP, taken(client=client)).events_per_s == 3.0


@pytest.mark.parametrize("client", [[], [client_record(9.5)], [client_record(9.5), client_record(12.5)]])
def test_step_without_a_steady_interval_gives_no_figures(client: list[ClientRecord]) -> None:
    with pytest.raises(ClientBenchFailed, match="--seconds"):
        step_figures(STEP, taken(client=client))


def test_a_lost_token_ends_the_measurement() -> None:
    lost = msgspec.structs.replace(request(), chunk_us=[1, 2], chunk_tokens=[1, 1])
    with pytest.raises(ClientBenchFailed, match="r0"):
        step_figures(STEP, taken(lost))
    unknown = msgspec.structs.replace(request(), id="nobody")
    with pytest.raises(ClientBenchFailed, match="nobody"):
        step_figures(STEP, taken(unknown))


def test_a_failed_request_ends_the_measurement() -> None:
    error = RequestError(kind="ReadError", status=None, message="")
    failed = msgspec.structs.replace(request(), outcome="error", error=error)
    with pytest.raises(ClientBenchFailed, match="ReadError"):
        step_figures(STEP, taken(failed))


@pytest.mark.parametrize(
    ("client_cpu", "server_cpu", "limit"),
    [
        (0.97, 0.5, "client"),
        (0.97, 0.95, "mock server"),
        (0.5, 0.4, "neither"),
    ],
)
def test_summary_names_the_limiting_side(client_cpu: float, server_cpu: float, limit: str) -> None:
    found = msgspec.structs.replace(step_figures(STEP, taken()), client_cpu=client_cpu, server_cpu=server_cpu)
    open_loop = msgspec.structs.replace(found, rate=1.0, events_per_s=1e9)
    lines = summarize([found, open_loop])
    assert len(lines) == 2
    assert all(limit in line for line in lines)
    assert "most events: 2 /s" in lines[0]


def bench(created: str, steps: list[StepFigures]) -> ClientBench:
    return ClientBench(
        created=created,
        host="h",
        kvchaos="1",
        git="g",
        python="3",
        openai="3",
        workers=1,
        load_average=0.5,
        steps=steps,
    )


def test_last_measurement_round_trips(tmp_path: Path) -> None:
    assert latest_bench(tmp_path / "nothing") is None
    steps = [step_figures(STEP, taken())]
    store_bench(bench("2026-01-02T00:00:00+00:00", steps), tmp_path)
    store_bench(bench("2026-01-01T00:00:00+00:00", []), tmp_path)
    assert latest_bench(tmp_path) == bench("2026-01-02T00:00:00+00:00", steps)


def test_damaged_measurement_is_named_with_its_path(tmp_path: Path) -> None:
    path = store_bench(bench("2026-01-02T00:00:00+00:00", []), tmp_path)
    path.write_text('{"v": 1}')
    with pytest.raises(UsageError, match=path.name):
        latest_bench(tmp_path)


def test_the_command_shows_what_was_measured_last(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["client-bench", "--last"]) == 3
    assert "kvchaos client-bench" in capsys.readouterr().err
    store_bench(bench("2026-01-02T00:00:00+00:00", [step_figures(STEP, taken())]), client_bench_folder(cache))
    assert run(["client-bench", "--last"]) == 0
    assert "0.50 / 1.50" in capsys.readouterr().out


def test_the_real_client_is_measured_against_the_mock_server(tmp_path: Path) -> None:
    messages: list[str] = []
    found = measure(MeasureOptions(workers=2, seconds=6.0, concurrency=(4,)), tmp_path, messages.append)
    assert [(step.step, step.concurrency) for step in found] == [("long", 4), ("short", 4), ("half", 4)]
    assert len(messages) == 3
    for step in found:
        assert step.events_per_s > 0
        assert step.cpu_us_per_event is not None
        assert step.ttft_error_ms.median is not None
        assert step.ttft_error_ms.median > 0
    # 4 at once and 10 ms from token to token give 400; a stall may push some over the edge of the stretch.
    assert found[0].events_per_s <= 400 * 1.5
    assert found[2].rate == pytest.approx(found[0].requests_per_s / 2)
