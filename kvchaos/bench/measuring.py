"""Runs that are measured: each conducted and judged like any other, and its figures told if it counts."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console

from history.arrivals import Poisson
from history.events import PhaseEnd
from history.plan import ClientKind, StackName
from history.reader import History, UnreadableRun, read_history
from history.verdict import RunVerdict
from kvchaos.bench.figures import figures
from kvchaos.bench.plans import Base
from kvchaos.bench.slo import Slo
from kvchaos.bench.store import Bench, BenchRun, Kind, Measured, write
from kvchaos.campaign import run_one
from kvchaos.errors import UsageError
from kvchaos.judging import judge_run_dir
from kvchaos.paths import Places
from kvchaos.planning import Request, make_run_dir
from kvchaos.servers.registry import ServerEnv
from kvchaos.stacks.attach import Attached
from oracles.speed import Speed, speeds
from oracles.views.timeline import by_phase

TRIES = 2
"""A run that comes out unknown, since the client was the limit say, is made once more."""


SEEDS_APART = 1_000_003
"""Between the seeds of runs on a server that was there before: it may remember what it was asked."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured on which server."""

    side: str
    base: Base
    server: ServerEnv | Attached
    stack: StackName = "local"


@dataclass(frozen=True, slots=True)
class Sender:
    """What sends the load."""

    workers: int = 1
    client: ClientKind = "openai"


class Stopped(Exception):
    """A signal ended the measurement."""


class Bencher:
    """Conducts the runs of one measurement in its folder, and keeps what came of each at once."""

    def __init__(self, bench: Bench, folder: Path, places: Places, sender: Sender, console: Console) -> None:
        """`places` tells of cache and port; the runs lie in `folder`."""
        self.bench = bench
        self.folder = folder
        self._places = replace(places, runs=folder)
        self._sender = sender
        self._console = console
        write(bench, folder)

    def measure(self, target: Target, asked: Sequence[str], seed: int) -> BenchRun:
        """One run that counts, if two tries give one. Raises UsageError, Stopped."""
        for _ in range(TRIES):
            run = self._once(target, asked, seed)
            if run.why_not is None or run.outcome != "unknown":
                break
        return run

    def _once(self, target: Target, asked: Sequence[str], seed: int) -> BenchRun:
        before = sum(run.side == target.side for run in self.bench.runs) if target.stack == "attach" else 0
        request = Request(
            scenario=target.base.scenario,
            server=target.server,
            seed=seed + before * SEEDS_APART,
            workers=self._sender.workers,
            stack=target.stack,
            client=self._sender.client,
        )
        run_dir, interrupted = run_one(request, self._places, self._console)
        run = told(run_dir, asked, seed, target.side, self.bench.slo)
        self.bench = msgspec.structs.replace(self.bench, runs=[*self.bench.runs, run])
        write(self.bench, self.folder)
        if interrupted:
            raise Stopped
        if run.why_not is not None:
            line = f"{run.run} does not count: {run.outcome}: {run.why_not}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        return run

    def searched(self, seed: int) -> None:
        """A search has come to its end."""
        self.bench = msgspec.structs.replace(self.bench, searched=[*self.bench.searched, seed])
        write(self.bench, self.folder)


def told(run_dir: Path, asked: Sequence[str], seed: int, side: str, slo: Slo | None) -> BenchRun:
    """What a stored run counts for: judged anew, and measured from its records. Raises UsageError."""
    try:
        verdict = judge_run_dir(run_dir)
        history = read_history(run_dir)
    except UnreadableRun as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{run_dir}: the verdict cannot be written: {error.strerror}") from error
    why_not = _why_not(verdict) or _not_whole(history, asked)
    return BenchRun(
        run=run_dir.name,
        side=side,
        seed=seed,
        outcome=verdict.outcome,
        why_not=why_not,
        asked=list(asked),
        asked_rates=[
            phase.arrivals.rate
            for phase in history.plan.scenario.phases
            if phase.name in asked and isinstance(phase.arrivals, Poisson)
        ],
        phases=[] if why_not else [_measured(speed, history, slo) for speed in _speeds(history, asked)],
    )


def new_folder(kind: Kind, scenario: str, runs: Path) -> Path:
    """The folder of a measurement, in which its runs lie, too. Raises UsageError."""
    moment = datetime.now(UTC)
    return make_run_dir(runs, f"bench-{kind}-{scenario}-{moment:%m%d-%H%M%S}-{secrets.token_hex(2)}")


def again(bench: Bench, folder: Path) -> Bench:
    """The same measurement from its runs alone. Raises UsageError."""
    runs = [told(folder / run.run, run.asked, run.seed, run.side, bench.slo) for run in bench.runs]
    return msgspec.structs.replace(bench, runs=runs)


def _why_not(verdict: RunVerdict) -> str | None:
    """Only a run that went as expected says how fast a server is."""
    if verdict.outcome == "as expected":
        return None
    return verdict.reasons[0] if verdict.reasons else "no reason was given"


def _not_whole(history: History, asked: Sequence[str]) -> str | None:
    ended = {event.data.phase for event in history.events_of(PhaseEnd) if event.data.reason == "done"}
    found = {speed.name for speed in _speeds(history, asked) if speed.ok}
    for phase in asked:
        if phase not in ended:
            return f"phase {phase} did not come to its end"
        if phase not in found:
            return f"phase {phase} has no good answer"
    return None


def _speeds(history: History, asked: Sequence[str]) -> list[Speed]:
    return [speed for speed in speeds(history) if speed.name in asked]


def _measured(speed: Speed, history: History, slo: Slo | None) -> Measured:
    arrivals = speed.window.spec.arrivals
    return Measured(
        phase=speed.name,
        rate=arrivals.rate if isinstance(arrivals, Poisson) else None,
        figures=figures(speed, by_phase(history)[speed.name], slo),
    )
