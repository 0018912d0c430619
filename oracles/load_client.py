"""Judges whether the load generator was fast enough for its measurements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from history.latency import percentiles, schedule_lags_ms, waits_ms
from history.reader import History, per_history
from history.records import ClientRecord, RequestRecord
from history.verdict import Figures, Gap, OracleResult, phase
from oracles.findings import CLIENT, REQUESTS, Findings, Oracle
from oracles.views.timeline import by_phase

NAME = "client"
LIMIT = "the load generator was too slow"
BUSY_FROM_US = 2_000_000
"""A shorter stretch says nothing about how busy a process is."""
MS_PER_S = 1e3
US_PER_MS = 1e3
NS_PER_MS = 1e6


def judge(history: History) -> OracleResult:
    """Within its bounds in every phase, or unknown: its own delays must not pass for the server's."""
    found = Findings(NAME)
    lines = _lines_by_phase(history)
    for window in history.phases():
        spoke = {record.worker for record in lines.get(window.spec.name, [])}
        silent = [worker for worker in range(history.plan.workers) if worker not in spoke]
        found.checked += 1
        if silent:
            text = f"phase {window.spec.name}: there is no client record of worker {_names(silent)}"
            figures = {f"worker_{number}": worker for number, worker in enumerate(silent)}
            found.gap("silent", text, phase(window.spec.name), figures=figures)
    limit = limited(history)
    if limit is not None:
        found.gaps.append(limit)
    late, lag = _p99(_late_ms(history.requests)), _p99(_lags(history.client))
    pauses = (pause for record in history.client for pause in record.gc_pause_us)
    pause, busy = max(pauses, default=0) / US_PER_MS, _busy(history.client)
    return found.result(
        f"the client kept up: schedule lag {late:.1f} ms, event loop lag {lag:.1f} ms (99th percentiles), "
        f"{busy:.0%} of a processor used, longest garbage collection {pause:.1f} ms",
        late_ms=late,
        lag_ms=lag,
        cpu=busy,
        pause_ms=pause,
    )


@per_history
def limited(history: History) -> Gap | None:
    """Time and bound at which the client first exceeded its bounds; None when it did not."""
    lines = _lines_by_phase(history)
    for window in history.phases():
        name = window.spec.name
        problem = next(_beyond(history, lines.get(name, []), by_phase(history).get(name, [])), None)
        if problem is not None:
            text = f"{LIMIT}: phase {name}: {problem.text}"
            kind = f"{NAME}/{problem.kind}"
            return Gap(kind=kind, subject=phase(name), text=text, figures=problem.figures)
    return None


class _Problem(NamedTuple):
    """A bound of the client that was crossed."""

    kind: str
    text: str
    figures: Figures


def _beyond(
    history: History, records: Sequence[ClientRecord], requests: Sequence[RequestRecord]
) -> Iterator[_Problem]:
    limits = history.plan.scenario.limits
    bounds, by_default = limits.client, limits.stall_s * MS_PER_S / 2
    lag_bound = bounds.event_loop_lag_ms or by_default
    by_worker: dict[int, list[ClientRecord]] = defaultdict(list)
    for record in records:
        by_worker[record.worker].append(record)
    for worker, own in by_worker.items():
        lag = _p99(_lags(own))
        if lag > lag_bound:
            text = f"event loop lag (p99) of worker {worker} was {lag:.0f} ms, bound {lag_bound:g} ms"
            yield _Problem("lag", text, {"worker": worker, "ms": lag, "bound": lag_bound})
        pause = max((pause for record in own for pause in record.gc_pause_us), default=0) / US_PER_MS
        if pause > lag_bound:
            text = f"worker {worker} collected garbage for {pause:.0f} ms, bound {lag_bound:g} ms"
            yield _Problem("collector", text, {"worker": worker, "ms": pause, "bound": lag_bound})
        busy = _busy(own)
        if busy > bounds.cpu:
            text = f"worker {worker} used {busy:.2f} of a processor, bound {bounds.cpu:g}"
            yield _Problem("cpu", text, {"worker": worker, "cpu": busy, "bound": bounds.cpu})
        error = max((record.clock_error_ns or 0 for record in own), default=0) / NS_PER_MS
        if error > bounds.clock_ms:
            text = (
                f"the clock of worker {worker} may be wrong by {error:.0f} ms, bound {bounds.clock_ms:g} ms"
            )
            yield _Problem("clock", text, {"worker": worker, "ms": error, "bound": bounds.clock_ms})
    given = {50: bounds.schedule_lag_median_ms, 99: bounds.schedule_lag_ms}
    for percent, late in zip(given, percentiles(_late_ms(requests), *given), strict=True):
        bound = given[percent] or by_default
        if late is not None and late > bound:
            text = f"requests were sent {late:.0f} ms late (percentile {percent}), bound {bound:g} ms"
            yield _Problem("schedule-lag", text, {"ms": late, "percentile": percent, "bound": bound})


def _names(workers: Sequence[int]) -> str:
    return " and ".join(map(str, workers))


def _lines_by_phase(history: History) -> dict[str, list[ClientRecord]]:
    phases: dict[str, list[ClientRecord]] = defaultdict(list)
    for record in history.client:
        phases[record.phase].append(record)
    return phases


def _lags(records: Sequence[ClientRecord]) -> NDArray[np.float64]:
    """Event loop lags, ms, with the samples that a pause of the loop prevented."""
    return waits_ms(lag for record in records for lag in record.event_loop_lag_us)


def _busy(records: Sequence[ClientRecord]) -> float:
    """Share of one processor; 0 of too short a time."""
    wall = sum(record.wall_us for record in records)
    return sum(record.cpu_us for record in records) / wall if wall >= BUSY_FROM_US else 0.0


def _late_ms(requests: Sequence[RequestRecord]) -> NDArray[np.float64]:
    """Schedule lags of the requests that only the client itself delayed."""
    return schedule_lags_ms([record for record in requests if not record.client_queued])


def _p99(values: Iterable[float] | NDArray[np.float64]) -> float:
    return percentiles(values, 99)[0] or 0.0


ORACLE = Oracle(NAME, "the load generator was fast enough", (CLIENT, REQUESTS), judge)
