"""Measures whether a long trace is replayed from disk in bounded memory.

Run by hand, on a quiet machine:

    make bench-trace

Writes a synthetic trace of a million lines. A load worker replays all of it against the mock server, a
hundred times faster than recorded. Exit code 0 when every line was played on time and the worker's memory did
not grow, else 1; 3 when it could not be measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from history import layout
from history.latency import Quantiles
from history.phase_spec import PhaseSpec, Recorded
from history.plan import RunPlan, load_only_plan
from history.records import RequestRecord
from history.scenario import Param, WorkloadSpec
from kvchaos.errors import Interrupted, interrupts
from kvchaos.planning.run_plan import host, write_plan
from kvchaos.report.text_tables import markdown_table, replace_between
from kvchaos.stacks.process_usage import resident_bytes
from loadtests.mock.mock_process import Fixed, MockFailed, MockServer, Settings
from loadtests.processes import LoadProcesses
from loadtests.traces.synthetic import entries, mooncake

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "load.md"
MARK = "<!-- trace -->"
LINES, RATE, SPEED = 1_000_000, 10.0, 100.0
SEED = 1
SCALE = 1 / 64
"""Scale of the lengths: the requests to the mock server are cheap, the trace is not."""
IN_FLIGHT = 512
READY_S, END_S, LOOK_S = 300.0, 120.0, 1.0
MAX_GROWTH_MIB = 32.0
LATE_P99_MS = 100.0
MIB = 1 << 20
HEADINGS = (
    "lines",
    "file",
    "speed",
    "requests/s",
    "took",
    "client queued",
    "start late (ms)",
    "worker before",
    "most",
    "grown",
)


class TraceReplayFailed(Exception):
    """The trace was not replayed."""


@dataclass(frozen=True, slots=True)
class TraceReplay:
    """What replaying a trace took."""

    lines: int
    file_mib: float
    span_s: float
    """Duration of the trace, as fast as it is replayed."""
    took_s: float
    client_queued: int
    """Requests that were due with as many in flight as may be."""
    late_ms: Quantiles
    ready_mib: float
    """Memory of the worker with the trace read through once, before the first request."""
    early_mib: float
    """The most in the first tenth of the time, when all that is needed has been loaded."""
    most_mib: float

    @property
    def grown_mib(self) -> float:
        """Peak memory of the worker less the peak in the first tenth of the time, MiB."""
        return self.most_mib - self.early_mib

    @property
    def bounded(self) -> bool:
        """Whether memory grew by at most `MAX_GROWTH_MIB`."""
        return self.grown_mib <= MAX_GROWTH_MIB

    @property
    def on_time(self) -> bool:
        """Whether the client queued no request and late (99th percentile) at most `LATE_P99_MS`."""
        return self.client_queued == 0 and self.late_ms.p99 is not None and self.late_ms.p99 <= LATE_P99_MS


def replay(folder: Path, lines: int, rate: float) -> TraceReplay:
    """Write a trace, replay it. Raises MeasureFailed, MockFailed, OSError."""
    path = folder / "trace.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in mooncake(entries(lines, SEED, rate)))
    with MockServer(Settings(ttft=Fixed(ms=2.0), itl=Fixed(ms=0.0)), folder / "sent.jsonl") as server:
        phase = _phase(lines)
        plan = write_plan(_plan(server.url, path, phase), folder)
        load = LoadProcesses(folder, plan, 1, folder / layout.LOADER_LOG)
        try:
            load.start()
            if not load.wait_ready(READY_S):
                raise TraceReplayFailed("; ".join(load.failures()) or f"no load worker within {READY_S:g} s")
            (pid,) = load.pids
            ready = resident_bytes(pid)
            began = time.monotonic()
            load.start_phase(phase)
            memory = list(_watch(load, pid))
            took_s = time.monotonic() - began
        finally:
            load.close()
    return _replay_result(folder, path, lines, took_s, ready, memory)


def _watch(load: LoadProcesses, pid: int) -> Iterator[int]:
    """Memory of the worker, bytes, once a second while the phase runs."""
    while not load.wait_done(LOOK_S):
        if load.failures():
            raise TraceReplayFailed("; ".join(load.failures()))
        yield resident_bytes(pid)
    counts = load.progress()
    if counts.ok != counts.sent:
        raise TraceReplayFailed(f"{counts.sent - counts.ok} of {counts.sent} requests did not end well")


def _replay_result(
    folder: Path, path: Path, lines: int, took_s: float, ready: int, memory: Sequence[int]
) -> TraceReplay:
    if len(memory) < 10:
        raise TraceReplayFailed("it was over too soon to tell anything of memory: give it more --lines")
    late: list[float] = []
    queued, first, last = 0, 2**63, 0
    decoder = msgspec.json.Decoder(RequestRecord)
    with (folder / layout.requests_file(0)).open("rb") as file:
        for line in file:
            record = decoder.decode(line)
            queued += record.client_queued
            first, last = min(first, record.scheduled_ns), max(last, record.scheduled_ns)
            late.append((record.start_ns - record.scheduled_ns) / 1e6)
    if len(late) != lines:
        raise TraceReplayFailed(f"{lines} lines, {len(late)} records")
    return TraceReplay(
        lines=lines,
        file_mib=path.stat().st_size / MIB,
        span_s=(last - first) / 1e9,
        took_s=took_s,
        client_queued=queued,
        late_ms=Quantiles.of(np.array(late)),
        ready_mib=ready / MIB,
        early_mib=max(memory[: len(memory) // 10 + 1]) / MIB,
        most_mib=max(memory) / MIB,
    )


def _phase(lines: int) -> PhaseSpec:
    return PhaseSpec(
        name="replay",
        role="load",
        workload="recorded",
        requests=lines,
        concurrency=IN_FLIGHT,
        arrivals=Recorded(kind="trace"),
    )


def _plan(url: str, path: Path, phase: PhaseSpec) -> RunPlan:
    params: dict[str, Param] = {
        "path": str(path),
        "format": "mooncake",
        "speed": SPEED,
        "scale": SCALE,
        "max_prompt_tokens": 128,
        "max_output_tokens": 4,
    }
    workload = WorkloadSpec(kind="trace", params=params)
    return load_only_plan(
        "bench-trace", url, {"recorded": workload}, phase, request_s=END_S, seed=SEED, client="lean"
    )


def report(found: TraceReplay) -> str:
    """Date, machine, the table and what it says, as Markdown."""
    row = (
        f"{found.lines:,}",
        f"{found.file_mib:,.0f} MiB",
        f"{SPEED:g}",
        f"{found.lines / found.span_s:.0f}",
        f"{found.took_s:.0f} s of {found.span_s:.0f}",
        f"{found.client_queued}",
        str(found.late_ms),
        f"{found.ready_mib:.1f} MiB",
        f"{found.most_mib:.1f} MiB",
        f"{found.grown_mib:.1f} MiB",
    )
    labels = {True: "yes", False: "no"}
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, Python {sys.version.split()[0]}; {host()}; "
        f"load of the machine {os.getloadavg()[1]:.1f} (5 minutes).\n\n"
        f"{markdown_table(HEADINGS, [row])}\n"
        f"- memory bounded (at most {MAX_GROWTH_MIB:g} MiB more than in the first tenth): "
        f"{labels[found.bounded]}\n"
        f"- on time (none queued by the client, starts at most {LATE_P99_MS:g} ms late, 99th percentile): "
        f"{labels[found.on_time]}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the measurement; returns its exit code, 3 when it cannot be measured."""
    parser = argparse.ArgumentParser(description="Replay a long trace from disk.")
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second, as recorded")
    parser.add_argument("--folder", type=Path, help="where all is written for the while: 1 GB")
    chosen = parser.parse_args(arguments)
    try:
        with interrupts(), tempfile.TemporaryDirectory(dir=chosen.folder, prefix="trace-") as folder:
            found = replay(Path(folder), chosen.lines, chosen.rate)
    except (Interrupted, TraceReplayFailed, MockFailed, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    text = report(found)
    sys.stdout.write(text)
    if (chosen.lines, chosen.rate) == (LINES, RATE):
        PAGE.write_text(replace_between(PAGE.read_text(encoding="utf-8"), MARK, text), encoding="utf-8")
    return 0 if found.bounded and found.on_time else 1


if __name__ == "__main__":
    sys.exit(main())
