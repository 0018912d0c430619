"""A load process that loses a record, sends a request twice or outlives its conductor spoils a run."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from history.records import RequestRecord
from history.scenario import ClientKind
from loadtests.clients.completion_clients import CLIENTS
from loadtests.messages import LatencyReport, PhaseDone, Progress, Ready, Report
from tests.fakes.openai_server import Behaviour, FakeServer, ReceivedRequest
from tests.support.load_processes import PATIENCE_S, loaders, phase, records, wait_for, write_plan

either_client = pytest.mark.parametrize("client", CLIENTS)
DRAIN_US = 1_000_000
SLOW = Behaviour(token_s=1.0)
"""An answer that takes far longer than any grace."""


@contextmanager
def worker(run_dir: Path, plan: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One bare worker process, spoken to by hand."""
    command = [
        sys.executable,
        "-m",
        "loadtests.load_worker",
        "--plan",
        str(plan),
        "--worker",
        "0",
        "--of",
        "1",
    ]
    with subprocess.Popen(
        [*command, "--out", str(run_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        yield process


def receive(process: subprocess.Popen[bytes]) -> Report:
    assert process.stdout is not None
    report: Report = msgspec.json.decode(process.stdout.readline(), type=Report)
    return report


def send_line(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(line + b"\n")


def kinds(found: list[RequestRecord]) -> set[str | None]:
    return {record.error.kind if record.error else None for record in found}


@either_client
def test_every_index_is_sent_and_recorded_once_over_all_workers_and_phases(
    tmp_path: Path, client: ClientKind
) -> None:
    with (
        FakeServer() as server,
        loaders(tmp_path, write_plan(tmp_path, server.url, client=client), workers=3) as load,
    ):
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase("load", requests=50, concurrency=7))
        assert load.wait_done(PATIENCE_S)
        first = load.progress()
        load.start_phase(phase("chaos", requests=5, concurrency=2, first=50))
        assert load.wait_done(PATIENCE_S)
        second = load.progress()
        assert load.failures() == []
    found = records(tmp_path)
    expected = [f"load-{i}" for i in range(50)] + [f"chaos-{i}" for i in range(50, 55)]
    assert sorted(record.id for record in found) == sorted(expected)
    assert sorted(received.headers["x-request-id"] for received in server.received) == sorted(expected)
    assert {record.outcome for record in found} == {"ok"}
    assert len({record.prompt_id for record in found}) == 55
    assert (first.phase, first.sent, first.ok, first.in_flight) == ("load", 50, 50, 0)
    assert (second.phase, second.sent, second.ok, second.failed) == ("chaos", 5, 5, 0)
    assert first.tokens == sum(len(record.token_ids) for record in found if record.phase == "load")


def test_listener_receives_latencies_of_every_good_answer(tmp_path: Path) -> None:
    reports: list[tuple[int, Report]] = []
    with (
        FakeServer() as server,
        loaders(
            tmp_path, write_plan(tmp_path, server.url), 2, lambda *message: reports.append(message)
        ) as load,
    ):
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase("load", requests=10, concurrency=4))
        assert load.wait_done(PATIENCE_S)
    last = {worker: report for worker, report in reports if isinstance(report, LatencyReport)}
    gaps = sum(len(record.chunk_us) - 1 for record in records(tmp_path))
    assert sum(sum(report.ttft.counts) for report in last.values()) == 10
    assert sum(sum(report.itl.counts) for report in last.values()) == gaps
    assert {worker for worker, report in reports if isinstance(report, PhaseDone)} == {0, 1}


def test_first_block_hash_is_equal_across_workers(tmp_path: Path) -> None:
    sizes: dict[str, int | str | bool | float] = {"prefix_tokens": 32, "suffix_tokens": 8}
    params = {**sizes, "prefixes": 2, "prompts": 6, "min_output": 1, "max_output": 2}
    with FakeServer() as server:
        plan = write_plan(tmp_path, server.url, kind="shared_prefix", params=params)
        with loaders(tmp_path, plan, workers=2) as load:
            assert load.wait_ready(PATIENCE_S)
            load.start_phase(phase("load", requests=12, concurrency=2))
            assert load.wait_done(PATIENCE_S)
    blocks = {record.first_block for record in records(tmp_path)}
    assert None not in blocks
    assert len(blocks) == 2


def test_the_concurrency_is_that_of_the_phase(tmp_path: Path) -> None:
    def release_when_five_wait(received: ReceivedRequest) -> Behaviour:
        wait_for(lambda: len(server.received) >= 5)
        return Behaviour()

    with (
        FakeServer(release_when_five_wait) as server,
        loaders(tmp_path, write_plan(tmp_path, server.url), workers=2) as load,
    ):
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=25, concurrency=5))
        assert load.wait_done(PATIENCE_S)
    edges = [(record.start_mono_ns, 1) for record in records(tmp_path)]
    edges += [(record.start_mono_ns + record.end_us * 1000, -1) for record in records(tmp_path)]
    running = [sum(step for _, step in sorted(edges)[: at + 1]) for at in range(len(edges))]
    assert max(running) == 5


@either_client
def test_stalled_answer_does_not_block_the_others(tmp_path: Path, client: ClientKind) -> None:
    def stall_the_first(received: ReceivedRequest) -> Behaviour:
        return Behaviour(shape="stall" if received.headers["x-request-id"] == "load-0" else "normal")

    with (
        FakeServer(stall_the_first) as server,
        loaders(tmp_path, write_plan(tmp_path, server.url, request_s=2.0, client=client)) as load,
    ):
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=20, concurrency=2))
        assert load.wait_done(PATIENCE_S)
    by_id = {record.id: record for record in records(tmp_path)}
    stalled = by_id.pop("load-0")
    assert (stalled.outcome, stalled.status, len(stalled.token_ids)) == ("error", 200, 2)
    assert kinds([stalled]) == {"DeadlineExceeded"}
    assert [record.outcome for record in by_id.values()] == ["ok"] * 19
    end_of_stalled = stalled.start_mono_ns + stalled.end_us * 1000
    assert all(record.start_mono_ns < end_of_stalled for record in by_id.values())


@either_client
def test_answer_is_complete_after_done_even_if_the_body_never_ends(
    tmp_path: Path, client: ClientKind
) -> None:
    lingers = Behaviour(shape="lingers")
    with (
        FakeServer(lingers) as server,
        loaders(tmp_path, write_plan(tmp_path, server.url, client=client)) as load,
    ):
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=6, concurrency=3))
        assert load.wait_done(PATIENCE_S)
    found = records(tmp_path)
    assert [record.outcome for record in found] == ["ok"] * 6
    # The wait for the end of the body, a second, is no part of the answer.
    assert all(record.end_us - record.chunk_us[-1] < DRAIN_US for record in found)


@either_client
def test_requests_to_a_silent_server_end_at_their_deadline(tmp_path: Path, client: ClientKind) -> None:
    silent = Behaviour(shape="silent")
    with (
        FakeServer(silent) as server,
        loaders(tmp_path, write_plan(tmp_path, server.url, request_s=0.3, client=client)) as load,
    ):
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=8, concurrency=4))
        assert load.wait_done(PATIENCE_S)
        assert load.progress().failed == 8
    found = records(tmp_path)
    assert sorted(record.id for record in found) == [f"load-{i}" for i in range(8)]
    assert kinds(found) == {"DeadlineExceeded"}
    assert all(record.status is None and record.end_us >= 300_000 for record in found)


@either_client
def test_refused_connections_are_recorded_without_a_busy_loop(tmp_path: Path, client: ClientKind) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        plan = write_plan(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}", client=client)
        with loaders(tmp_path, plan) as load:
            assert load.wait_ready(PATIENCE_S)
            load.start_phase(phase(requests=10, concurrency=2))
            assert load.wait_done(PATIENCE_S)
    found = sorted(records(tmp_path), key=lambda record: record.start_mono_ns)
    assert len(found) == 10
    assert kinds(found) == {"ConnectError"}
    # Two users, five requests each: four pauses of 50 ms lie between a user's first and last.
    assert found[-1].start_mono_ns - found[0].start_mono_ns >= 4 * 50_000_000


@either_client
def test_stopped_phase_records_aborted_requests_and_sends_no_more(tmp_path: Path, client: ClientKind) -> None:
    with (
        FakeServer(SLOW) as server,
        loaders(tmp_path, write_plan(tmp_path, server.url, client=client)) as load,
    ):
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=50, concurrency=4))
        wait_for(lambda: len(server.received) == 4)
        load.stop_phase("server-dead")
        assert load.wait_done(PATIENCE_S)
        counts = load.progress()
        assert load.failures() == []
    found = records(tmp_path)
    assert sorted(record.id for record in found) == [f"load-{i}" for i in range(4)]
    assert {record.outcome for record in found} == {"aborted"}
    assert kinds(found) == {"StoppedEarly"}
    assert (counts.sent, counts.aborted, counts.in_flight) == (4, 4, 0)


@either_client
def test_a_stop_lets_short_answers_finish_and_the_next_phase_runs(tmp_path: Path, client: ClientKind) -> None:
    short = Behaviour(token_s=0.03)
    with (
        FakeServer(short) as server,
        loaders(tmp_path, write_plan(tmp_path, server.url, client=client)) as load,
    ):
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase("load", requests=10_000, concurrency=4))
        wait_for(lambda: len(server.received) >= 4)
        load.stop_phase("measured")
        assert load.wait_done(PATIENCE_S)
        load.start_phase(phase("healed", requests=3, concurrency=3))
        assert load.wait_done(PATIENCE_S)
    found = records(tmp_path)
    assert {record.outcome for record in found} == {"ok"}
    assert len(found) == len(server.received) < 100
    assert sum(record.phase == "healed" for record in found) == 3


def test_the_reason_of_a_stop_is_reported(tmp_path: Path) -> None:
    with FakeServer(SLOW) as server, worker(tmp_path, write_plan(tmp_path, server.url)) as process:
        assert isinstance(receive(process), Ready)
        send_line(process, msgspec.json.encode(start(requests=9, concurrency=1)))
        assert isinstance(receive(process), Progress)
        send_line(process, b'{"do":"stop","reason":"stalled"}')
        reports = iter(lambda: receive(process), None)
        done = next(report for report in reports if isinstance(report, PhaseDone))
        send_line(process, b'{"do":"quit"}')
    assert (done.phase, done.reason, done.aborted) == ("load", "stalled", 1)
    assert process.returncode == 0


def start(requests: int, concurrency: int, workload: str = "asks") -> dict[str, str | int | dict[str, str]]:
    return {
        "do": "phase",
        "name": "load",
        "role": "load",
        "workload": workload,
        "requests": requests,
        "concurrency": concurrency,
        "first": 0,
        "arrivals": {"kind": "closed"},
        "begins_ns": 0,
    }


def test_silent_server_shows_in_the_age_of_the_last_token(tmp_path: Path) -> None:
    stall = Behaviour(shape="stall")
    with FakeServer(stall) as server, loaders(tmp_path, write_plan(tmp_path, server.url)) as load:
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=4, concurrency=2))
        wait_for(lambda: load.progress().last_token_age_s > 1.0)
        counts = load.progress()
        assert (counts.sent, counts.in_flight, counts.tokens) == (2, 2, 4)


@either_client
@pytest.mark.parametrize("end", ["stdin closed", "SIGTERM", "quit"])
def test_interrupted_worker_exits_at_once_and_records_open_requests(
    tmp_path: Path, client: ClientKind, end: str
) -> None:
    with (
        FakeServer(SLOW) as server,
        worker(tmp_path, write_plan(tmp_path, server.url, client=client)) as process,
    ):
        assert process.stdin is not None
        assert isinstance(receive(process), Ready)
        send_line(process, msgspec.json.encode(start(requests=50, concurrency=4)))
        wait_for(lambda: len(server.received) == 4)
        match end:
            case "stdin closed":
                process.stdin.close()
            case "SIGTERM":
                process.send_signal(signal.SIGTERM)
            case _:
                send_line(process, b'{"do":"quit"}')
        assert process.wait(PATIENCE_S) == 0
    found = records(tmp_path)
    assert sorted(record.id for record in found) == [f"load-{i}" for i in range(4)]
    assert kinds(found) == {"StoppedEarly"}


def test_worker_ignores_sigint(tmp_path: Path) -> None:
    with FakeServer() as server, worker(tmp_path, write_plan(tmp_path, server.url)) as process:
        assert isinstance(receive(process), Ready)
        process.send_signal(signal.SIGINT)
        send_line(process, msgspec.json.encode(start(requests=5, concurrency=1)))
        reports = iter(lambda: receive(process), None)
        done = next(report for report in reports if isinstance(report, PhaseDone))
        send_line(process, b'{"do":"quit"}')
    assert (done.ok, process.returncode) == (5, 0)


def test_a_full_disk_is_reported_and_ends_the_worker(tmp_path: Path) -> None:
    (tmp_path / "requests-0.jsonl").symlink_to("/dev/full")
    with FakeServer() as server, loaders(tmp_path, write_plan(tmp_path, server.url)) as load:
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=1000, concurrency=2))
        assert not load.wait_done(PATIENCE_S)
        wait_for(lambda: "code 3" in load.failures()[0])
        (line,) = load.failures()
        assert not load.done()
    assert os.strerror(errno.ENOSPC) in line
    assert len(server.received) < 1000


def test_killed_worker_is_detected_and_its_phase_is_never_done(tmp_path: Path) -> None:
    with FakeServer(SLOW) as server, loaders(tmp_path, write_plan(tmp_path, server.url), workers=2) as load:
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=4, concurrency=2))
        os.kill(load.pids[1], signal.SIGKILL)
        assert not load.wait_done(PATIENCE_S)
        (line,) = load.failures()
        assert f"worker 1 (pid {load.pids[1]})" in line
        assert "code -9" in line
        load.stop_phase("server-dead")


def test_close_leaves_no_worker_process(tmp_path: Path) -> None:
    with FakeServer(SLOW) as server, loaders(tmp_path, write_plan(tmp_path, server.url), workers=2) as load:
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=8, concurrency=4))
        pids = load.pids
    load.close()
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_conductor_side_imports_no_gevent_locust_or_openai() -> None:
    code = (
        "import sys, loadtests.messages, loadtests.processes, loadtests.workloads;"
        "print([name for name in ('gevent', 'locust', 'openai') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
