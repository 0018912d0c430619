"""Measures whether the load generator keeps up with the load of a large GPU: many streams of long prompts.

Run by hand, on a quiet machine:

    python -m benchmarks.many_streams

Sends prompts of 8,000 tokens to the mock server for 30 minutes, at a rate that keeps 512 streams open. Exit
code 0: the client was on time, had processor time to spare, and its memory grew by at most 32 MiB. 1: not so.
3: not measured. Takes 3 GB of disk.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec

from benchmarks.measured_machine import machine_line
from benchmarks.watched_load import MAX_GROWTH_MIB, LoadNotMeasured, WatchedLoad, send_watched
from history import layout
from history.latency import Quantiles, waits_ms
from history.phase_spec import Constant, PhaseSpec
from history.plan import RunPlan, load_only_plan
from history.records import ClientRecord
from history.scenario import ClientKind, WorkloadSpec
from kvchaos.errors import Interrupted, UsageError, interrupts
from kvchaos.planning.open_file_limits import needs_of_client_bench, raise_limit
from kvchaos.report.text_tables import markdown_table, replace_between
from loadtests.mock.mock_process import Fixed, MockFailed, MockServer, Settings

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
MARK = "<!-- streams -->"
STREAMS, MINUTES = 512, 30.0
PROMPT_TOKENS, ANSWER_TOKENS = 8_000, 128
FIRST_MS, GAP_MS = 500.0, 50.0
STREAM_S = (FIRST_MS + (ANSWER_TOKENS - 1) * GAP_MS) / 1e3
RATE = STREAMS / STREAM_S
"""Requests a second."""
MOST_STREAMS = STREAMS + 128
"""With this many open, requests wait in the client, which counts as a failure."""
LATE_P99_MS, MOST_CPU = 100.0, 0.95
END_S = 60.0
HEADINGS = (
    "client",
    "requests",
    "streams",
    "events/s",
    "start late (ms)",
    "event loop late (ms)",
    "CPU",
    "client queued",
    "memory",
    "grown",
)


@dataclass(frozen=True, slots=True)
class StreamLoad:
    """What was measured."""

    client: ClientKind
    load: WatchedLoad
    loop_lag_ms: Quantiles
    cpu: float
    """Share of one processor that the load worker used."""

    @property
    def on_time(self) -> bool:
        """Whether the client queued nothing, and was late by at most `LATE_P99_MS` (99th percentile)."""
        late = (self.load.sent.late_ms.p99, self.loop_lag_ms.p99)
        return self.load.sent.client_queued == 0 and all(
            each is not None and each <= LATE_P99_MS for each in late
        )

    @property
    def had_time(self) -> bool:
        """Whether the worker had processor time to spare."""
        return self.cpu <= MOST_CPU


def measure(folder: Path, client: ClientKind, minutes: float) -> StreamLoad:
    """Send the load. Raises LoadNotMeasured, MockFailed, OSError, UsageError."""
    raise_limit(needs_of_client_bench(MOST_STREAMS, workers=1))
    phase = _phase(minutes)
    settings = Settings(ttft=Fixed(ms=FIRST_MS), itl=Fixed(ms=GAP_MS))
    with MockServer(settings, folder / "sent.jsonl") as server:
        load = send_watched(folder, _plan(server.url, client, phase), phase)
    lines = msgspec.json.Decoder(ClientRecord).decode_lines((folder / layout.CLIENT).read_bytes())
    wall_us = sum(line.wall_us for line in lines)
    return StreamLoad(
        client,
        load,
        Quantiles.of(waits_ms(lag for line in lines for lag in line.event_loop_lag_us)),
        sum(line.cpu_us for line in lines) / wall_us,
    )


def _phase(minutes: float) -> PhaseSpec:
    return PhaseSpec(
        name="streams",
        role="load",
        workload="long",
        requests=round(RATE * minutes * 60),
        concurrency=MOST_STREAMS,
        arrivals=Constant(kind="constant", rate=RATE),
    )


def _plan(url: str, client: ClientKind, phase: PhaseSpec) -> RunPlan:
    lengths = {"prompt_tokens": PROMPT_TOKENS, "min_output": ANSWER_TOKENS, "max_output": ANSWER_TOKENS}
    workload = WorkloadSpec(kind="unique", params=dict(lengths))
    return load_only_plan("many-streams", url, {"long": workload}, phase, request_s=END_S, client=client)


def report(found: StreamLoad) -> str:
    """Date, machine, the table and its conclusions, as Markdown."""
    sent, memory = found.load.sent, found.load.memory
    row = (
        f"kvchaos {found.client}",
        f"{sent.requests:,} in {sent.span_s / 60:.0f} min",
        f"{sent.in_flight:.0f}",
        f"{sent.tokens / sent.span_s:,.0f}",
        str(sent.late_ms),
        str(found.loop_lag_ms),
        f"{found.cpu:.2f}",
        f"{sent.client_queued}",
        f"{memory.most_mib:.0f} MiB",
        f"{memory.grown_mib:.1f} MiB",
    )
    labels = {True: "yes", False: "no"}
    return (
        f"{machine_line()}\n\n"
        f"{markdown_table(HEADINGS, [row])}\n"
        f"- on time (none queued by the client, at most {LATE_P99_MS:g} ms late, 99th percentiles): "
        f"{labels[found.on_time]}\n"
        f"- processor time to spare (at most {MOST_CPU:g} of one): {labels[found.had_time]}\n"
        f"- memory bounded (at most {MAX_GROWTH_MIB:g} MiB more than in the first tenth): "
        f"{labels[memory.bounded]}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the measurement; returns its exit code, 3 when it cannot be measured."""
    parser = argparse.ArgumentParser(description="Send the load of a large GPU to the mock server.")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--client", choices=get_args(ClientKind), default="openai")
    parser.add_argument("--folder", type=Path, help="for the records, removed at the end: 3 GB")
    chosen = parser.parse_args(arguments)
    try:
        with interrupts(), tempfile.TemporaryDirectory(dir=chosen.folder, prefix="streams-") as folder:
            found = measure(Path(folder), chosen.client, chosen.minutes)
    except (Interrupted, LoadNotMeasured, MockFailed, OSError, UsageError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    text = report(found)
    sys.stdout.write(text)
    if chosen.minutes == MINUTES:
        PAGE.write_text(replace_between(PAGE.read_text(encoding="utf-8"), MARK, text), encoding="utf-8")
    return 0 if found.on_time and found.had_time and found.load.memory.bounded else 1


if __name__ == "__main__":
    sys.exit(main())
