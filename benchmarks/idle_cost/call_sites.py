"""Where the time of the chaos module goes, by samples of a loaded server's stacks.

Run by hand: `python -m benchmarks.idle_cost.call_sites --state ledger`. It needs the right to trace
processes. A sample counts for the module when no code of vLLM runs below the module's last frame. It counts
for the function of the module that vLLM called. Exit code 3 when it could not be measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from benchmarks.idle_cost.measured_server import BenchFolders, MeasuredServer, Processors
from benchmarks.idle_cost.module_states import ModuleState
from kvchaos.errors import Interrupted, UsageError, interrupts
from kvchaos.paths import cache_folder
from kvchaos.report.text_tables import markdown_table
from kvchaos.servers.server_registry import find_server

ROOT = Path(__file__).parents[2]
MODULE, SERVER = "/chaos/inside/", "/vllm/"
WARM_UP = 4
RATE_HZ = 500
HEADINGS = ("function of the module", "samples", "share of the process")
GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class ProcessSamples:
    """Samples of the running threads of one process."""

    name: str
    total: int
    by_site: Counter[str]
    """Samples of the module's own time, by the function that was called from outside the module."""


def module_samples(name: str, stacks: Iterable[str]) -> ProcessSamples:
    """Samples from the lines of py-spy's raw format: frames from the outermost on, and a count."""
    total, by_site = 0, Counter[str]()
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        total += int(count)
        site = _site(frames.split(";"))
        if site is not None:
            by_site[site] += int(count)
    return ProcessSamples(name, total, by_site)


def _site(frames: Sequence[str]) -> str | None:
    """The module's first function on a stack; None where the module is not there or waits for vLLM."""
    own = [at for at, frame in enumerate(frames) if MODULE in frame]
    if not own or any(SERVER in frame and MODULE not in frame for frame in frames[own[-1] + 1 :]):
        return None
    function, _, location = frames[own[0]].partition(" (")
    return f"{location.partition(MODULE)[2].partition('.py')[0]}.{function}"


def table(processes: Sequence[ProcessSamples]) -> str:
    """A table for each process, as Markdown."""
    parts = []
    for process in processes:
        rows = [
            (site, str(count), f"{count / process.total:.2%}")
            for site, count in process.by_site.most_common()
        ]
        own = sum(process.by_site.values())
        rows.append(("all of the module", str(own), f"{own / max(process.total, 1):.2%}"))
        parts.append(f"{process.name}, {process.total} samples\n\n{markdown_table(HEADINGS, rows)}")
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Where the time of the chaos module goes.")
    parser.add_argument("--server", default="0.32.0", help="server environment")
    parser.add_argument("--state", choices=get_args(ModuleState)[1:], default="ledger", help="of the module")
    parser.add_argument("--seconds", type=int, default=30, help="how long to sample")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "idle", help="folder for the runs")
    chosen = parser.parse_args(arguments)
    try:
        with interrupts():
            sys.stdout.write(table(_measured(chosen)))
    except (Interrupted, UsageError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return 0


def _measured(chosen: argparse.Namespace) -> list[ProcessSamples]:
    folders = BenchFolders(cache_folder(), chosen.runs.absolute())
    server = find_server(chosen.server, cache_folder())
    with ExitStack() as stack:
        measured = MeasuredServer("call-sites", server, chosen.state, folders, Processors.shared())
        stack.callback(measured.close)
        measured.start()
        measured.wait_ready()
        for number in range(WARM_UP):
            measured.block(number)
        output = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        samplers = {
            process.pid: _sampler(process.pid, chosen.seconds, output) for process in measured.processes()
        }
        number = WARM_UP
        while any(sampler.poll() is None for sampler in samplers.values()):
            measured.block(number)
            number += 1
        names = {process.pid: process.name for process in measured.processes()}
        found = [_read(pid, names.get(pid, "process"), output, sampler) for pid, sampler in samplers.items()]
    return [process for process in found if process.total]


def _sampler(pid: int, seconds: int, output: Path) -> subprocess.Popen[bytes]:
    """Raises UsageError when py-spy is not installed."""
    command = ["py-spy", "record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(RATE_HZ)]
    command += ["--format", "raw", "--full-filenames", "--nonblocking", "--output", str(output / str(pid))]
    program = Path(sys.executable).parent / command[0]
    try:
        return subprocess.Popen(
            [str(program), *command[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise UsageError(
            f"{program}: {error.strerror}; install the development group of the suite"
        ) from error


def _read(pid: int, name: str, output: Path, sampler: subprocess.Popen[bytes]) -> ProcessSamples:
    _, problem = sampler.communicate(timeout=GRACE_S)
    path = output / str(pid)
    if not path.exists():
        raise UsageError(f"py-spy left no samples of {name} {pid}: {problem.decode(errors='replace')[-200:]}")
    return module_samples(name, path.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    sys.exit(main())
