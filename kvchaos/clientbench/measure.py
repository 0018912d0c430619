"""The steps of a measurement: the real load workers against the mock server, at rising concurrency."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from history import layout
from history.phase_spec import Closed, PhaseSpec, Poisson
from history.plan import RunPlan, load_only_plan
from history.records import ClientRecord, Record, RequestRecord
from history.scenario import ClientKind, WorkloadSpec
from kvchaos.clientbench.client_bench_file import (
    ClientBenchFailed,
    LoadStep,
    StepFigures,
    StepRecords,
    step_figures,
)
from kvchaos.planning.run_plan import write_plan
from kvchaos.polling import poll, wait_until
from kvchaos.stacks.process_usage import cpu_s
from loadtests.mock.mock_process import Fixed, MockServer, SentRecord, Settings
from loadtests.processes import LoadProcesses

READY_S, END_S, POLL_S = 60.0, 60.0, 0.05
PROMPT_TOKENS = 128
LONG, SHORT = 128, 1
"""Tokens of an answer: for the most tokens a second, and for the most requests."""
UNBOUNDED_REQUESTS = 1_000_000
SCHEDULE = Settings(ttft=Fixed(ms=10.0), itl=Fixed(ms=10.0))
RecordT = TypeVar("RecordT", bound=Record)


@dataclass(frozen=True, slots=True)
class MeasureOptions:
    """What a measurement of the client covers."""

    workers: int
    seconds: float
    """Duration of each step."""
    concurrency: Sequence[int]
    client: ClientKind = "openai"


@dataclass(frozen=True, slots=True)
class _DrivenStep:
    step: LoadStep
    phase: str
    stopped_ns: int
    server_cpu: float


def measure(
    options: MeasureOptions, folder: Path, report_progress: Callable[[str], None]
) -> list[StepFigures]:
    """Closed loops of long and of short answers, then half of the highest rate in an open loop.

    `folder` gets the records. Raises ClientBenchFailed, OSError, loadtests.mock.mock_process.MockFailed.
    """
    with MockServer(SCHEDULE, folder / "sent.jsonl") as server:
        plan = write_plan(plan_for(server.url, options), folder)
        load = LoadProcesses(folder, plan, options.workers, folder / layout.LOADER_LOG)
        try:
            load.start()
            if not load.wait_ready(READY_S):
                raise ClientBenchFailed("; ".join(load.failures()) or f"no load worker within {READY_S:g} s")
            bench = _StepRunner(folder, server, load, options.seconds)
            measured = [bench.run(step, report_progress) for step in _closed_steps(options.concurrency)]
            return [*measured, bench.run(_half_rate_step(measured), report_progress)]
        finally:
            load.close()


def _closed_steps(concurrency: Sequence[int]) -> Iterator[LoadStep]:
    for name, tokens in (("long", LONG), ("short", SHORT)):
        for users in concurrency:
            yield LoadStep(name, users, tokens)


def _half_rate_step(measured: Sequence[StepFigures]) -> LoadStep:
    best = max((one for one in measured if one.answer_tokens == LONG), key=lambda one: one.requests_per_s)
    rate = best.requests_per_s / 2
    if not rate:
        raise ClientBenchFailed("no long answer came to its end: give each step more --seconds")
    return LoadStep("half", best.concurrency, LONG, rate)


class _StepRunner:
    """Runs one step after the other on the same processes."""

    def __init__(self, folder: Path, server: MockServer, load: LoadProcesses, seconds: float) -> None:
        self._folder = folder
        self._server = server
        self._load = load
        self._seconds = seconds
        self._count = 0

    def run(self, step: LoadStep, report_progress: Callable[[str], None]) -> StepFigures:
        driven = self._drive(step)
        requests = [
            record
            for path in sorted(self._folder.glob(layout.REQUESTS_GLOB))
            for record in _lines(path, RequestRecord)
            if record.phase == driven.phase
        ]
        if len(requests) != self._load.progress().sent:
            raise ClientBenchFailed(f"{self._load.progress().sent} requests sent, {len(requests)} recorded")
        client = [
            record
            for record in _lines(self._folder / layout.CLIENT, ClientRecord)
            if record.phase == driven.phase
        ]
        sent = self._sent({record.id for record in requests if record.outcome == "ok"})
        measured = step_figures(
            step, StepRecords(requests, client, sent, driven.stopped_ns, driven.server_cpu)
        )
        report_progress(f"{step.name}, {step.concurrency} at once: {measured.events_per_s:.0f} events/s")
        return measured

    def _sent(self, ids: set[str]) -> dict[str, SentRecord]:
        """The server's log, with these requests in it: it writes a line just after the client has the end."""
        return poll(self._server.sent, lambda sent: ids <= sent.keys(), END_S, POLL_S)

    def _drive(self, step: LoadStep) -> _DrivenStep:
        self._count += 1
        phase = phase_for(step, f"{step.name}-{self._count}", self._seconds)
        began_ns, used_before_s = time.monotonic_ns(), cpu_s(self._server.pid)
        self._load.start_phase(phase)
        wait_until(lambda: self._load.done() or bool(self._load.failures()), self._seconds, POLL_S)
        stopped_ns = time.monotonic_ns()
        used_s = cpu_s(self._server.pid) - used_before_s
        self._load.stop_phase("measured")
        if not self._load.wait_done(END_S):
            raise ClientBenchFailed("; ".join(self._load.failures()) or f"no end within {END_S:g} s")
        return _DrivenStep(step, phase.name, stopped_ns, used_s / (stopped_ns - began_ns) * 1e9)


def phase_for(step: LoadStep, name: str, seconds: float) -> PhaseSpec:
    """The phase of one step: answers of its length, in a closed loop or at its rate."""
    return PhaseSpec(
        name=name,
        role="load",
        workload="long" if step.answer_tokens == LONG else "short",
        # More than can be due in the time, however the arrivals fall: each step is stopped.
        requests=UNBOUNDED_REQUESTS if step.rate is None else 10 + round(4 * step.rate * seconds),
        concurrency=step.concurrency,
        arrivals=Closed() if step.rate is None else Poisson(kind="poisson", rate=step.rate),
    )


def plan_for(url: str, options: MeasureOptions) -> RunPlan:
    """Load of both workloads, of no server under test."""
    workloads = {
        name: WorkloadSpec(
            kind="unique",
            params={"prompt_tokens": PROMPT_TOKENS, "min_output": tokens, "max_output": tokens},
        )
        for name, tokens in (("long", LONG), ("short", SHORT))
    }
    return load_only_plan(
        "client-bench",
        url,
        workloads,
        phase_for(LoadStep("long", 1, LONG), "long", 1.0),
        request_s=END_S,
        workers=options.workers,
        client=options.client,
    )


def _lines(path: Path, kind: type[RecordT]) -> list[RecordT]:
    return msgspec.json.Decoder(kind).decode_lines(path.read_bytes())
