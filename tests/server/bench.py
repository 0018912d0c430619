"""Real vLLM servers, driven as a user drives them: commands as processes, outcomes from what they leave.

The servers are those of the user's own cache. Records of what runs lie in a cache folder of the tests, so
that nothing here meets the runs of somebody else, and the other way round.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from history import layout
from history.events import D, Timed
from history.reader import History, read_history
from history.records import FaultRecord
from history.scenario import Scenario
from history.verdict import OracleResult, RunVerdict
from kvchaos.bugs.bug_catalogue import known_bugs
from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder
from kvchaos.planning.scenario_file import find_scenario, load_scenario, order_scenarios, scenario_files
from kvchaos.servers.server_registry import find_server
from kvchaos.stacks.process_registry import RunState

ROOT = Path(__file__).parents[2]
OLD = "0.18.0"
NEW = "0.32.0"
RELEASES = (OLD, NEW)
SEED = 11
SHARED_FOLDERS = ("servers", "models", "lib", "tools")
STARTED_S = 240.0
"""For a server to come up and a run to get somewhere."""
COMMAND_S = 540.0
CAMPAIGN_S = 2400.0
CHOSEN = (
    "baseline-offload",
    "corruption-canary",
    "deadlock-warm-tier",
    "evict-storm",
    "false-accounting",
    "load-failure-fail-policy",
    "load-failure-livelock",
    "load-failure-recompute",
    "lost-completion",
    "malformed-requests",
    "mid-prefill-preemption",
)
"""Scenarios that go another way on the old release than on the new one, and some to compare both by."""
COUNTER_BUG = "server-alive/died: ValueError in vllm.v1.metrics.loggers.record"
"""The signature of vllm#36533."""
SOON_S = 30.0
REFUSAL = "Counters can only be incremented by non-negative amounts"
"""What releases before 0.19 die of."""
REPORT_LINE = re.compile(r"^report: (?P<folder>/.+)/report\.html$")
"""At the end of a single run."""
ROW = re.compile(r"^\S (?:as expected|not as expected|unknown) +(?:\d+ +)?(?P<run>[a-z0-9-]+)\s*$")
FOLDER_LINE = re.compile(r"^each run has a folder with report\.html in: (?P<folder>/.+)$")
"""Below the rows of a campaign."""


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def runs(self) -> list[RunDir]:
        """The run directories that the command named at its end, in order."""
        named: list[str] = []
        found: list[RunDir] = []
        for line in self.out.splitlines():
            if row := ROW.match(line):
                named.append(row["run"])
            elif folder := FOLDER_LINE.match(line):
                found += [RunDir(Path(folder["folder"], name)) for name in named]
                named = []
        if found:
            return found
        reports = map(REPORT_LINE.match, self.out.splitlines())
        return [RunDir(Path(report["folder"])) for report in reports if report]

    def run(self) -> RunDir:
        """The only one."""
        (only,) = self.runs()
        return only


@dataclass(frozen=True)
class RunDir:
    """What one run left."""

    path: Path

    @cached_property
    def history(self) -> History:
        return read_history(self.path)

    @cached_property
    def verdict(self) -> RunVerdict:
        return msgspec.json.decode((self.path / layout.VERDICT).read_bytes(), type=RunVerdict)

    @property
    def scenario(self) -> str:
        return self.history.plan.scenario.name

    def result_of(self, oracle: str) -> OracleResult:
        (result,) = (result for result in self.verdict.results if result.oracle == oracle)
        return result

    def failed(self) -> set[str]:
        return {result.oracle for result in self.verdict.results if result.verdict == "fail"}

    def event(self, kind: type[D], **data: str | int) -> Timed[D]:
        """The only event of this kind that says so."""
        (event,) = (
            event
            for event in self.history.events_of(kind)
            if data.items() <= msgspec.structs.asdict(event.data).items()
        )
        return event

    def journal(self, event: str, fault: str | None = None) -> list[FaultRecord]:
        """Lines of the fault journals of one kind, of one fault if it is named."""
        lines = [line for line in self.history.faults if line.event == event]
        return [line for line in lines if fault is None or line.fault == fault]

    def final(self, metric: str) -> float:
        """A metric, summed over its series, at the last scrape."""
        value = self.history.metrics.total(len(self.history.metrics) - 1, metric)
        assert value is not None, f"the server has no metric {metric}"
        return value


class Command:
    """`kvchaos` as a process of its own, in a process group of its own, as a shell would start it.

    All in one session: the scheduler shares the processors out by session, and of two that run side by side
    one would leave the other's load waiting for seconds.
    """

    def __init__(self, bench: Bench, arguments: tuple[str, ...]) -> None:
        own = {"KVCHAOS_CACHE": str(bench.cache), "KVCHAOS_RUNS": str(bench.runs), "PYTHONPATH": str(ROOT)}
        self.bench = bench
        self.process = subprocess.Popen(
            [*bench.inside, sys.executable, "-m", "kvchaos", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            cwd=bench.folder,
            env={**os.environ, **own},
            process_group=0,
        )

    def finish(self, deadline_s: float = COMMAND_S) -> Finished:
        """Wait for its end. One that takes too long is asked to stop, and its exit code tells of that."""
        try:
            out, err = self.process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            out, err = self.process.communicate()
        return Finished(self.process.returncode, out, err)

    def end(self) -> None:
        """Ask it to stop, unless it was waited for."""
        assert self.process.stdout is not None
        if not self.process.stdout.closed:
            self.finish(0)

    def wait_for_event(self, kind: str, **data: str) -> RunDir:
        """Wait until the diary of the bench's only run says so; its directory is not whole yet."""

        def happened() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            return any(
                event["kind"] == kind and data.items() <= event["data"].items()
                for folder in self.bench.runs.glob("*")
                for event in _lines(folder / layout.EVENTS)
            )

        wait_for(happened, STARTED_S)
        (folder,) = self.bench.runs.iterdir()
        return RunDir(folder)


@dataclass(frozen=True)
class Bench:
    """A folder for the run directories of one test, and the command line."""

    folder: Path
    cache: Path
    inside: tuple[str, ...] = ()
    """Words before each command, such as those that have it run on another machine."""

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def start(self, *arguments: str) -> Command:
        return Command(self, arguments)

    @contextmanager
    def running(self, scenario: Path | str, release: str) -> Iterator[Command]:
        """A run as a context; whatever is left of it is ended, also when the test fails."""
        command = self.start("run", str(scenario), "--server", need(release), "--seed", str(SEED))
        try:
            yield command
        finally:
            command.process.kill()
            command.process.communicate()
            self.run("clean")

    def run(self, *arguments: str, deadline_s: float = COMMAND_S) -> Finished:
        return self.start(*arguments).finish(deadline_s)

    def run_scenario(self, scenario: Path | str, release: str, *options: str, seed: int = SEED) -> Finished:
        return self.run("run", str(scenario), "--server", need(release), "--seed", str(seed), *options)

    def run_several(self, scenarios: Sequence[str], release: str) -> Finished:
        """By one command."""
        arguments = ("run", *scenarios, "--server", need(release), "--seed", str(SEED))
        return self.run(*arguments, deadline_s=CAMPAIGN_S)

    def variant(self, name: str, **changes: Any) -> Path:
        """A copy of a scenario that comes with kvchaos, with some of its parts replaced; None: left out."""
        content = scenario_content(name) | changes
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({key: part for key, part in content.items() if part is not None}))
        return path

    def record(self, run: RunDir) -> RunState:
        """What would be left if the conductor of a run were killed now."""
        text = self.record_path(run).read_bytes()
        return msgspec.json.decode(text, type=RunState)

    def records(self) -> list[Path]:
        """Of all runs that live or were killed."""
        return sorted((self.cache / "state").glob("*.json"))

    def record_path(self, run: RunDir) -> Path:
        return self.cache / "state" / f"{run.path.name}.json"


def scenario_content(name: str) -> dict[str, Any]:
    """A scenario that comes with kvchaos, as data."""
    content: dict[str, Any] = yaml.safe_load(find_scenario(name).read_text())
    return content


def local_scenarios() -> list[str]:
    """What `kvchaos run --all` runs on the local stack, in the order of the files."""
    return [scenario.name for scenario in _local()]


def campaign_order() -> list[str]:
    """The same in the order in which `kvchaos run --all` runs it: equal servers together."""
    return [scenario.name for scenario in order_scenarios(_local(), known_bugs())]


def own_cache(folder: Path) -> Path:
    """A cache folder with the user's servers and models in it, and records of its own."""
    theirs, ours = cache_folder(), folder / "cache"
    ours.mkdir()
    for name in SHARED_FOLDERS:
        if (theirs / name).exists():
            (ours / name).symlink_to(theirs / name)
    return ours


def need(release: str) -> str:
    """The name of a server environment. A missing one fails the test and names the mending command."""
    try:
        return find_server(release, cache_folder()).name
    except UsageError as error:
        pytest.fail(f"the tests need a real server: {error}", pytrace=False)


def wait_for(condition: Callable[[], bool], seconds: float = SOON_S) -> None:
    """Wait until the condition is true; a timeout fails the test."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def _local() -> list[Scenario]:
    """The packaged scenarios that run on a local server."""
    return [scenario for scenario in map(load_scenario, scenario_files()) if "local" in scenario.stacks]


def _lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a JSON Lines file, empty for a missing file."""
    content = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [msgspec.json.decode(line) for line in content if line.endswith(b"\n")]
