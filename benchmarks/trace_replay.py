"""Measures whether a long trace is replayed from disk in bounded memory.

Run by hand, on a quiet machine:

    make bench-trace

Writes a synthetic trace of a million lines. A load worker replays all of it against the mock server, a
hundred times faster than recorded. Exit code 0 when every line was played on time and the worker's memory did
not grow, else 1; 3 when it could not be measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measured_machine import machine_line
from benchmarks.watched_load import MAX_GROWTH_MIB, MIB, LoadNotMeasured, MemoryUse, send_watched
from history.latency import Quantiles
from history.phase_spec import PhaseSpec, Recorded
from history.plan import RunPlan, load_only_plan
from history.scenario import Param, WorkloadSpec
from kvchaos.errors import Interrupted, interrupts
from kvchaos.report.text_tables import markdown_table, replace_between
from loadtests.mock.mock_process import Fixed, MockFailed, MockServer, Settings
from loadtests.traces.synthetic import entries, mooncake

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "load.md"
MARK = "<!-- trace -->"
LINES, RATE, SPEED = 1_000_000, 10.0, 100.0
SEED = 1
SCALE = 1 / 64
"""Scale of the lengths: the requests to the mock server are cheap, the trace is not."""
IN_FLIGHT = 512
END_S = 120.0
LATE_P99_MS = 100.0
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
    memory: MemoryUse
    """Of the worker; `ready_mib` with the trace read through once."""

    @property
    def on_time(self) -> bool:
        """Whether the client queued no request and late (99th percentile) at most `LATE_P99_MS`."""
        return self.client_queued == 0 and self.late_ms.p99 is not None and self.late_ms.p99 <= LATE_P99_MS


def replay(folder: Path, lines: int, rate: float) -> TraceReplay:
    """Write a trace, replay it. Raises LoadNotMeasured, MockFailed, OSError."""
    path = folder / "trace.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in mooncake(entries(lines, SEED, rate)))
    with MockServer(Settings(ttft=Fixed(ms=2.0), itl=Fixed(ms=0.0)), folder / "sent.jsonl") as server:
        phase = _phase(lines)
        found = send_watched(folder, _plan(server.url, path, phase), phase)
    return TraceReplay(
        lines=lines,
        file_mib=path.stat().st_size / MIB,
        span_s=found.sent.span_s,
        took_s=found.took_s,
        client_queued=found.sent.client_queued,
        late_ms=found.sent.late_ms,
        memory=found.memory,
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
        f"{found.memory.ready_mib:.1f} MiB",
        f"{found.memory.most_mib:.1f} MiB",
        f"{found.memory.grown_mib:.1f} MiB",
    )
    labels = {True: "yes", False: "no"}
    return (
        f"{machine_line()}\n\n"
        f"{markdown_table(HEADINGS, [row])}\n"
        f"- memory bounded (at most {MAX_GROWTH_MIB:g} MiB more than in the first tenth): "
        f"{labels[found.memory.bounded]}\n"
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
    except (Interrupted, LoadNotMeasured, MockFailed, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    text = report(found)
    sys.stdout.write(text)
    if (chosen.lines, chosen.rate) == (LINES, RATE):
        PAGE.write_text(replace_between(PAGE.read_text(encoding="utf-8"), MARK, text), encoding="utf-8")
    return 0 if found.memory.bounded and found.on_time else 1


if __name__ == "__main__":
    sys.exit(main())
