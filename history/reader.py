"""Reading a run directory back, strictly. Judging needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary

import msgspec
from pydantic import ValidationError

from history import layout
from history.earlier_values import revised_event, revised_fault, revised_ledger
from history.events import D, EventData, PhaseEnd, PhaseStart, Timed, of_type, typed
from history.jsonl import Line, one_line, open_plain, read_lines
from history.jsonl import UnreadableRun as UnreadableRun
from history.metrics import MetricLog
from history.metrics_subprocess import metrics_in_subprocess, read_metrics
from history.phase_spec import PhaseSpec
from history.plan import RunPlan
from history.records import (
    ClientRecord,
    Event,
    FaultRecord,
    GpuRecord,
    LedgerRecord,
    ProvenanceRecord,
    RequestRecord,
    ResourceRecord,
)
from history.renamed_keys import plan_of_today
from history.request_reader import read_requests
from history.seals import NOT_SEALED, SealCheck, changes, seals_beside
from history.strict_yaml import BadYaml, load_yaml


@dataclass(frozen=True, slots=True)
class PhaseWindow:
    """A phase as it really happened. Scrapes are taken when the server has settled, before and after it."""

    spec: PhaseSpec
    start_ns: int
    end_ns: int
    first_scrape: int | None
    last_scrape: int | None


@dataclass(frozen=True, eq=False)
class History:
    """Everything that happened in one run. Not to be changed: what is asked of it often is kept."""

    run_dir: Path
    plan: RunPlan
    requests: list[RequestRecord]
    faults: list[FaultRecord]
    ledger: list[LedgerRecord]
    events: list[Event]
    metrics: MetricLog
    log: list[str]
    """Lines of server.log."""
    prometheus: MetricLog = field(default_factory=lambda: MetricLog.from_lines(()))
    """What Prometheus saw of the server."""
    client: list[ClientRecord] = field(default_factory=list)
    resources: list[ResourceRecord] = field(default_factory=list)
    gpus: list[GpuRecord] = field(default_factory=list)
    """Empty where the server used no GPU, or by an earlier version."""
    provenance: list[ProvenanceRecord] = field(default_factory=list)
    """Empty where the run was not audited, or by an earlier version."""
    changed: tuple[str, ...] = ()
    """Files that have not the lines that the run noted at its end, a message for each."""
    seal: SealCheck = NOT_SEALED

    @cached_property
    def timed(self) -> list[Timed[EventData]]:
        """The events by their types. Raises msgspec.ValidationError, but not of a history that was read."""
        return [typed(event) for event in self.events]

    def events_of(self, kind: type[D]) -> list[Timed[D]]:
        """The events of one kind, in order."""
        return of_type(self.timed, kind)

    def phases(self) -> list[PhaseWindow]:
        """The phases that began, in order. One that was cut short ends with the run's last event."""
        windows: list[PhaseWindow] = []
        for spec in self.plan.scenario.phases:
            start = self._moment(PhaseStart, spec.name)
            if start is None:
                continue
            end = self._moment(PhaseEnd, spec.name) or self.events[-1].t_ns
            scrape_at = self.metrics.scrape_at
            windows.append(PhaseWindow(spec, start, end, scrape_at(start), scrape_at(end)))
        return windows

    def _moment(self, kind: type[PhaseStart | PhaseEnd], phase: str) -> int | None:
        return next((event.t_ns for event in self.events_of(kind) if event.data.phase == phase), None)


def read_history(run_dir: Path) -> History:
    """Read everything a run left. Raises UnreadableRun with one clear line."""
    if not run_dir.is_dir():
        raise UnreadableRun(f"{run_dir}: no such run directory")
    plan = read_plan(run_dir)
    events = list(read_events(run_dir))
    if not events:
        raise UnreadableRun(f"{run_dir / layout.EVENTS}: no events; the run never began")
    with seals_beside(run_dir) as seals, metrics_in_subprocess(run_dir / layout.METRICS) as metrics:
        return History(
            run_dir=run_dir,
            plan=plan,
            log=_log_lines(run_dir / layout.SERVER_LOG),
            requests=read_requests(run_dir),
            faults=read_faults(run_dir),
            ledger=read_ledgers(run_dir),
            provenance=list(_all_lines(run_dir, layout.PROVENANCE_GLOB, ProvenanceRecord)),
            events=events,
            client=list(read_lines(run_dir / layout.CLIENT, ClientRecord)),
            prometheus=read_metrics(run_dir / layout.PROMETHEUS),
            resources=list(read_lines(run_dir / layout.RESOURCES, ResourceRecord)),
            gpus=list(read_lines(run_dir / layout.GPUS, GpuRecord)),
            metrics=metrics(),
            changed=_changes(run_dir, events),
            seal=seals(),
        )


def read_plan(run_dir: Path) -> RunPlan:
    """Read run.yaml alone. Raises UnreadableRun."""
    path = run_dir / layout.PLAN
    try:
        # JSON mode, since YAML has no tuples and strict validation of Python objects wants them.
        return RunPlan.model_validate_json(msgspec.json.encode(plan_of_today(load_yaml(path))))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        problem = one_line(f"{where}: {first['msg']}")
        raise UnreadableRun(f"{path}: {problem}") from error
    except BadYaml as error:
        raise UnreadableRun(str(error)) from error
    except OSError as error:
        raise UnreadableRun(f"{path}: cannot be read: {error.strerror}") from error


def read_events(run_dir: Path) -> Iterator[Event]:
    """Read events.jsonl alone. Raises UnreadableRun."""
    return read_lines(run_dir / layout.EVENTS, Event, revised_event)


def read_faults(run_dir: Path) -> list[FaultRecord]:
    """Read the fault journals alone. Raises UnreadableRun."""
    return list(_all_lines(run_dir, layout.FAULTS_GLOB, FaultRecord, revised_fault))


def read_ledgers(run_dir: Path) -> list[LedgerRecord]:
    """Read the ledgers alone. Raises UnreadableRun."""
    return list(_all_lines(run_dir, layout.LEDGER_GLOB, LedgerRecord, revised_ledger))


def _all_lines(
    run_dir: Path, pattern: str, kind: type[Line], revise: Callable[[Line], Line] | None = None
) -> Iterator[Line]:
    for path in sorted(run_dir.glob(pattern)):
        yield from read_lines(path, kind, revise)


def _changes(run_dir: Path, events: list[Event]) -> tuple[str, ...]:
    try:
        return tuple(changes(run_dir, [typed(event) for event in events]))
    except OSError as error:
        raise UnreadableRun(f"{error.filename}: cannot be read: {error.strerror}") from error


def _log_lines(path: Path) -> list[str]:
    """Equal lines, of which a long log has many, are kept once."""
    known: dict[str, str] = {}
    try:
        with open_plain(path) as file:
            lines = file.read().decode("utf-8", errors="replace").splitlines()
        return [known.setdefault(line, line) for line in lines]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UnreadableRun(f"{path}: cannot be read: {error}") from error


Answer = TypeVar("Answer")


def per_history(function: Callable[[History], Answer]) -> Callable[[History], Answer]:
    """Memoise `function(history)` for each History, as long as that is referenced.

    The result must not reference the history, and must not be changed.
    """
    known: WeakKeyDictionary[History, Answer] = WeakKeyDictionary()

    @wraps(function)
    def memoised(history: History) -> Answer:
        if history not in known:
            known[history] = function(history)
        return known[history]

    return memoised
