"""The load of a run shared by several processes, here or on other machines, is the same load."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import msgspec
import pytest

from history import layout
from history.events import LoadWorker, ServerExit, ServerStalled
from history.records import ClientRecord
from tests.server.bench import OLD, Bench, Command, RunDir, need, scenario_content, wait_for
from tests.support.namespaces import Machine, linked_machines, need_namespaces

pytestmark = pytest.mark.server

SCENARIO = "baseline-offload"
WORKERS = 2
PORT = 5557
NS_PER_S = 1_000_000_000


def test_two_load_workers_send_each_request_once(bench: Bench) -> None:
    finished = bench.run_scenario(SCENARIO, OLD, "--workers", str(WORKERS))
    assert finished.code == 0, finished.out
    assert_each_request_once(finished.run())


def assert_each_request_once(run: RunDir) -> None:
    """By the records, by each worker's own file, and by what the server counted."""
    phases = run.history.plan.scenario.phases
    planned = [
        f"{phase.name}-{n}" for phase in phases for n in range(phase.first, phase.first + phase.requests)
    ]
    sent = Counter(record.id for record in run.history.requests if record.phase != "probe")
    assert sent == Counter(planned)
    by_worker = Counter(record.worker for record in run.history.requests if record.phase != "probe")
    assert set(by_worker) == set(range(WORKERS))
    for worker in range(WORKERS):
        lines = (run.path / layout.requests_file(worker)).read_bytes().splitlines()
        assert len(lines) == by_worker[worker]
    answered = run.final("vllm:request_success_total")
    assert answered == sum(record.outcome == "ok" for record in run.history.requests)


@pytest.fixture
def machines() -> Iterator[tuple[Machine, ...]]:
    """The conductor's, and one for each worker."""
    need_namespaces()
    with linked_machines(WORKERS) as made:
        yield made


@contextmanager
def ended(command: Command) -> Iterator[Command]:
    """A command as a context; it is asked to stop at the latest at the end, and leaves nothing behind."""
    try:
        yield command
    finally:
        command.end()


@contextmanager
def conducted(bench: Bench, machines: tuple[Machine, ...], scenario: str) -> Iterator[Command]:
    """A run on the first machine, with a worker on each of the others."""
    here, *others = machines
    master = f"{here.address}:{PORT}"
    options = ("--server", need(OLD), "--workers", str(WORKERS), "--listen", master)
    with ExitStack() as commands:
        for other in others:
            there = replace(bench, inside=other.inside)
            commands.enter_context(ended(there.start("worker", "--master", master, "--once")))
        yield commands.enter_context(
            ended(replace(bench, inside=here.inside).start("run", scenario, *options))
        )


def test_remote_workers_send_each_request_once_and_report_their_clock_offset(
    bench: Bench, machines: tuple[Machine, ...]
) -> None:
    with conducted(bench, machines, SCENARIO) as command:
        finished = command.finish()
    assert finished.code == 0, (finished.out, finished.err)
    run = finished.run()
    assert run.history.plan.base_url.startswith(f"http://{machines[0].address}:")
    assert_each_request_once(run)
    lines = (run.path / layout.CLIENT).read_bytes().splitlines()
    records = [msgspec.json.decode(line, type=ClientRecord) for line in lines]
    phases = {phase.name for phase in run.history.plan.scenario.phases}
    assert {(record.worker, record.phase) for record in records} == {
        (worker, phase) for worker in range(WORKERS) for phase in phases
    }
    for record in records:
        assert record.clock_offset_ns is not None
        assert record.clock_error_ns is not None
        # These machines share one clock, so that the truth is known.
        assert abs(record.clock_offset_ns) <= record.clock_error_ns < NS_PER_S


def test_killed_remote_worker_makes_the_run_unknown_and_keeps_other_records(
    bench: Bench, machines: tuple[Machine, ...]
) -> None:
    golden, load, _ = scenario_content(SCENARIO)["phases"]
    scenario = bench.variant(SCENARIO, phases=[golden, {**load, "requests": 20_000}], limits={"stall_s": 6.0})
    with conducted(bench, machines, str(scenario)) as command:
        run = command.wait_for_event("phase_start", phase=load["name"])
        victim = run.event(LoadWorker, worker=1).data.pid
        assert isinstance(victim, int)
        mark = f'"phase":"{load["name"]}"'.encode()
        wait_for(lambda: mark in (run.path / layout.requests_file(1)).read_bytes())
        os.kill(victim, signal.SIGKILL)
        finished = command.finish()
    assert finished.code == 2, (finished.out, finished.err)
    run = finished.run()
    cut = run.verdict.cut
    assert cut is not None
    assert cut.kind == "run/failed"
    assert f"(pid {victim} " in cut.text
    assert " 6." in cut.text
    assert run.failed() == set()
    assert run.history.events_of(ServerStalled) == []
    assert run.history.events_of(ServerExit) == []
    numbers = {worker: sent_by(run, worker, load["name"]) for worker in range(WORKERS)}
    # All of the one that lived, up to the end; of the other what it had told before.
    assert numbers[0] == list(range(load["first"], load["first"] + 2 * len(numbers[0]), 2))
    assert len(numbers[0]) > len(numbers[1]) > 0


def sent_by(run: RunDir, worker: int, phase: str) -> list[int]:
    """The numbers of the requests of a phase that one worker recorded."""
    records = (record for record in run.history.requests if record.phase == phase)
    return sorted(int(record.id.rpartition("-")[2]) for record in records if record.worker == worker)
