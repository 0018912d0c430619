"""Measures what judging a long run costs.

Run by hand:

    make bench-judge

Soaks that never happened, real in shape, are written into a temporary folder, one for each size, and each
is judged by `kvchaos judge` in a process of its own. Exit code 0 when the largest is judged within the
target and the time grows no faster than the size, else 1; 3 when it could not be measured.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measured_machine import machine_line
from benchmarks.process_watch import MemoryWatch
from benchmarks.soak.soak_plan import REQUESTS_PER_S
from benchmarks.soak.soak_writer import write_soak
from kvchaos.errors import Interrupted, interrupts
from kvchaos.report.text_tables import markdown_table, replace_between

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "judging-cost.md"
MARK = "<!-- costs -->"
HEADINGS = ("requests", "hours", "scrapes", "files", "time", "memory", "of a request")
SIZES = (10_000, 100_000, 1_000_000)
TARGET_SIZE, TARGET_S, TARGET_MIB = 1_000_000, 30.0, 2048.0
MAX_GROWTH = 1.1
"""The exponent up to which time counts as linear in size; 1 is exactly linear."""
SEED = 1
MIB = 1 << 20


class JudgingFailed(Exception):
    """A soak was not judged as expected; the message shows the output."""


@dataclass(frozen=True, slots=True)
class JudgingCost:
    """What judging one soak took."""

    requests: int
    scrapes: int
    files_mib: float
    seconds: float
    peak_mib: float
    """The most memory resident at a time, of all its processes."""


def growth(costs: Sequence[JudgingCost]) -> float | None:
    """The exponent by which time grew from the last size but one to the last; None of a single size."""
    if len(costs) < 2:
        return None
    before, last = costs[-2:]
    return math.log(last.seconds / before.seconds) / math.log(last.requests / before.requests)


def is_linear(costs: Sequence[JudgingCost]) -> bool | None:
    """Whether time grows at most with size to the power of `MAX_GROWTH`; None with too few sizes."""
    exponent = growth(costs)
    return None if exponent is None else exponent <= MAX_GROWTH


def within_target(costs: Sequence[JudgingCost]) -> bool | None:
    """Whether the size that the target speaks of was judged within it; None when it was not measured."""
    measured = [cost for cost in costs if cost.requests == TARGET_SIZE]
    if not measured:
        return None
    return all(cost.seconds <= TARGET_S and cost.peak_mib <= TARGET_MIB for cost in measured)


def measure_judging(run_dir: Path, requests: int, scrapes: int) -> JudgingCost:
    """Judge a soak in a process of its own. Raises MeasureFailed when it is not all well."""
    files = sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file())
    command = [sys.executable, "-m", "kvchaos", "judge", str(run_dir)]
    began = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        try:
            with MemoryWatch(process.pid) as watch:
                output = process.stdout.read().decode(errors="replace")
                process.wait()
        finally:
            process.kill()  # Does nothing to one that has ended.
    seconds = time.monotonic() - began
    if process.returncode != 0:
        raise JudgingFailed(f"exit code {process.returncode}\n{output}")
    # Not what the kernel calls the most of the process: that includes the memory of its parent at the fork.
    return JudgingCost(requests, scrapes, files / MIB, seconds, watch.peak / MIB)


def report(costs: Sequence[JudgingCost]) -> str:
    """Date, machine, the table and what it says, as Markdown."""
    rows = [
        (
            f"{cost.requests:,}",
            f"{cost.requests / REQUESTS_PER_S / 3600:.1f}",
            f"{cost.scrapes:,}",
            f"{cost.files_mib:,.0f} MiB",
            f"{cost.seconds:.1f} s",
            f"{cost.peak_mib:,.0f} MiB",
            f"{cost.seconds / cost.requests * 1e6:.0f} µs",
        )
        for cost in costs
    ]
    labels = {True: "yes", False: "no", None: "not measured"}
    target = labels[within_target(costs)]
    exponent = growth(costs)
    note = "" if exponent is None else f" (time grows with size to the power of {exponent:.2f})"
    return (
        f"{machine_line()}\n\n"
        f"{markdown_table(HEADINGS, rows)}\n"
        f"- {TARGET_SIZE:,} requests in {TARGET_S:g} s and {TARGET_MIB:g} MiB: {target}\n"
        f"- linear: {labels[is_linear(costs)]}{note}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the measurement; returns its exit code, 3 when it cannot be measured."""
    parser = argparse.ArgumentParser(description="Measure what judging a long run costs.")
    parser.add_argument("sizes", type=int, nargs="*", help="requests of each soak, at least 100")
    parser.add_argument("--folder", type=Path, help="where the soaks are written for the while: 3 GB")
    chosen = parser.parse_args(arguments)
    try:
        with interrupts():
            costs = measure(chosen.sizes or SIZES, chosen.folder)
    except (Interrupted, JudgingFailed) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    text = report(costs)
    sys.stdout.write(text)
    if not chosen.sizes:
        PAGE.write_text(replace_between(PAGE.read_text(encoding="utf-8"), MARK, text), encoding="utf-8")
    return 0 if within_target(costs) is not False and is_linear(costs) is not False else 1


def measure(sizes: Sequence[int], folder: Path | None) -> list[JudgingCost]:
    """One soak after the other, each removed before the next. Raises MeasureFailed, Interrupted."""
    costs: list[JudgingCost] = []
    for requests in sorted(sizes):
        with tempfile.TemporaryDirectory(dir=folder, prefix="soak-") as temp:
            run_dir = Path(temp) / "run"
            scrapes = write_soak(run_dir, requests, SEED)
            costs.append(measure_judging(run_dir, requests, scrapes))
        sys.stdout.write(f"{requests} requests: {costs[-1].seconds:.1f} s, {costs[-1].peak_mib:.0f} MiB\n")
        sys.stdout.flush()
    return costs


if __name__ == "__main__":
    sys.exit(main())
