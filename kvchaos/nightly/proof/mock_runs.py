"""Runs against one mock server: their load, their figures, and whether the machine was on time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from history import layout
from history.latency import NS_PER_MS, percentiles, schedule_lag_ms
from history.phase_spec import Constant, PhaseSpec
from history.plan import load_only_plan
from history.reader import PhaseWindow
from history.records import RequestRecord
from history.scenario import WorkloadSpec
from kvchaos.bench.bench_file import PhaseFigures, phase_figures
from kvchaos.planning.run_plan import write_plan
from kvchaos.polling import poll
from loadtests.mock.mock_process import MockServer, SentRecord, Settings
from loadtests.processes import LoadProcesses
from oracles.speed import speed_of
from oracles.views.timeline import NS_PER_US

READY_S, END_S, POLL_S = 180.0, 60.0, 0.02
REQUESTS, RATE = 32, 160.0
"""Of a run, and how many of them are due in a second. With the lead of a phase it takes about a second."""
TOKENS, PROMPT_TOKENS = 6, 16
GAPS = REQUESTS * (TOKENS - 1)
MAX_LATE_MS = 10.0
"""A run counts when client and mock server together were late by at most so much for 9 of 10 tokens."""
WORKLOAD = "short"


class MockPairsFailed(Exception):
    """A pair that gives no figures, with the reason."""


@dataclass(frozen=True, slots=True)
class MockRun:
    """One run."""

    figures: PhaseFigures
    on_time: bool
    """Whether its times are those of the server's schedule, not those of a machine with too little time."""


class MockSide:
    """One mock server, which may be another build later, and the load worker that sends to it alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: MockServer | None = None
        self._load: LoadProcesses | None = None
        self._servers = 0
        self._read = 0
        """Bytes of the records that belong to earlier runs."""

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as ends:
            if self._server is not None:
                ends.push(self._server)
            if self._load is not None:
                ends.callback(self._load.close)

    def serve(self, settings: Settings) -> None:
        """Start the server, again at the same port. The load worker starts with the first one."""
        port = 0
        if self._server is not None:
            port, server = self._server.port, self._server
            self._server = None
            server.__exit__(None, None, None)
        self._servers += 1
        log = self._folder / f"sent-{self._servers}.jsonl"
        self._server = MockServer(settings, log, shared_port=port).__enter__()
        if self._load is None:
            self._start_load(self._server.url)

    def _start_load(self, url: str) -> None:
        plan = load_only_plan(
            "nightly-proof",
            url,
            {
                WORKLOAD: WorkloadSpec(
                    kind="unique",
                    params={"prompt_tokens": PROMPT_TOKENS, "min_output": TOKENS, "max_output": TOKENS},
                )
            },
            run_phase("run"),
            request_s=END_S,
            client="lean",
        )
        path = write_plan(plan, self._folder)
        self._load = LoadProcesses(self._folder, path, 1, self._folder / layout.LOADER_LOG)
        self._load.start()
        if not self._load.wait_ready(READY_S):
            raise MockPairsFailed("; ".join(self._load.failures()) or f"no load worker within {READY_S:g} s")

    def run(self, name: str) -> MockRun:
        """Send the load of one run. Raises RuntimeError before `serve`."""
        if self._load is None or self._server is None:
            raise RuntimeError("no server was started")
        phase = run_phase(name)
        self._load.start_phase(phase)
        if not self._load.wait_done(END_S):
            raise MockPairsFailed("; ".join(self._load.failures()) or f"no end within {END_S:g} s")
        records = self._new_records()
        ok = {record.id: record for record in records if record.outcome == "ok"}
        if len(ok) != REQUESTS:
            raise MockPairsFailed(f"{name}: {len(ok)} of {REQUESTS} requests have a good answer")
        # The server writes a line of its log just after the client has the end.
        sent = poll(self._server.sent, lambda lines: ok.keys() <= lines.keys(), END_S, POLL_S)
        speed = speed_of(PhaseWindow(phase, 0, 0, None, None), "before", list(ok.values()))
        return MockRun(phase_figures(speed, records, None), is_on_time(records, sent))

    def _new_records(self) -> list[RequestRecord]:
        with (self._folder / layout.requests_file(0)).open("rb") as file:
            file.seek(self._read)
            lines = file.read()
        self._read += len(lines)
        return msgspec.json.Decoder(RequestRecord).decode_lines(lines)


def run_phase(name: str) -> PhaseSpec:
    """The load of one run: requests that are all alike, due at equal intervals."""
    return PhaseSpec(
        name=name,
        role="load",
        workload=WORKLOAD,
        requests=REQUESTS,
        concurrency=REQUESTS,
        arrivals=Constant(kind="constant", rate=RATE),
    )


def is_on_time(records: Sequence[RequestRecord], sent: Mapping[str, SentRecord]) -> bool:
    """Whether requests and tokens were late by MAX_LATE_MS at most at the 90th percentile."""
    pairs = [(record, sent[record.id]) for record in records]
    requests_ms = [
        schedule_lag_ms(record) + (server.received_ns - record.start_mono_ns) / NS_PER_MS
        for record, server in pairs
    ]
    tokens_ms = [
        (record.start_mono_ns + at_us * NS_PER_US - due_ns) / NS_PER_MS
        for record, server in pairs
        for at_us, due_ns in zip(record.chunk_us, server.due_ns, strict=True)
    ]
    late = (percentiles(requests_ms, 90)[0], percentiles(tokens_ms, 90)[0])
    return all(each is not None and each <= MAX_LATE_MS for each in late)
