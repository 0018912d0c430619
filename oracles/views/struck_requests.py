"""Which requests a fault struck, by its journal, and which were abandoned or cut off.

A long run has many lines and many more requests: all lines are answered by one look at each request.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from history.fired_fault import FaultWindow
from history.protocol.evidence import CompletionsReordered, FaultReverted, RequestAbandoned
from history.protocol.outside import OutsideFiring
from history.reader import History, per_history
from history.records import CONNECTION_ERRORS, FaultRecord, RequestRecord
from oracles.views.timeline import NS_PER_S, end_ns, ends_ns

SERVER_NAMES = tuple(re.compile(rf"(?:\d+_)?cmpl-(?P<id>.*)-\d+{end}", re.DOTALL) for end in ("", r"-\w+"))
"""What the server calls the request ID: cmpl-ID-0, maybe with a random end to it, or with the number of one
of several answers before it."""


def concerns(name: str | None, request: RequestRecord) -> bool:
    """Whether this is what the server calls a request of ours."""
    return name is not None and request.id in _meant(name)


def _meant(name: str) -> list[str]:
    """The ids that a name can stand for: what looks like a random end may belong to the id."""
    matches = [form.fullmatch(name) for form in SERVER_NAMES]
    return [match["id"] for match in matches if match is not None]


def by_name(
    lines: Iterable[FaultRecord], requests: Iterable[RequestRecord]
) -> dict[str, list[RequestRecord]]:
    """The requests that are meant by each name in some lines of the journal; an empty list where none is."""
    return named({name for line in lines for name in names_of(line)}, requests)


def named(names: Collection[str], requests: Iterable[RequestRecord]) -> dict[str, list[RequestRecord]]:
    """The requests that are meant by each of the server's names; an empty list where none is."""
    meant: dict[str, list[str]] = defaultdict(list)
    for name in names:
        for request_id in _meant(name):
            meant[request_id].append(name)
    found: dict[str, list[RequestRecord]] = {name: [] for name in names}
    for request in requests:
        for name in meant.get(request.id, ()):
            found[name].append(request)
    return found


def names_of(line: FaultRecord) -> Collection[str]:
    """The requests that a line names; empty where it names none."""
    named: Collection[str] = ()
    match line.firing:
        case CompletionsReordered(requests=requests):
            named = requests
        case OutsideFiring() as firing:
            named = firing.named
    return {*named, *([line.request] if line.request is not None else [])}


class RequestsInFlight:
    """Finds the requests that were on their way at a moment."""

    def __init__(self, requests: Sequence[RequestRecord]) -> None:
        self._by_start = sorted(requests, key=lambda record: record.start_ns)
        self._starts = [record.start_ns for record in self._by_start]
        durations_ns = ends_ns(self._by_start) - np.array(self._starts, np.int64)
        self._longest_ns = int(durations_ns.max(initial=0))

    def at(self, t_ns: int) -> list[RequestRecord]:
        """The requests in flight at a time, wall clock ns."""
        first = bisect_left(self._starts, t_ns - self._longest_ns)
        begun = self._by_start[first : bisect_right(self._starts, t_ns)]
        return [record for record in begun if end_ns(record) >= t_ns]


def fault_window(history: History, fired: FaultRecord) -> FaultWindow:
    """The time in which an injection from outside was in force, and its requests."""
    firing, end = fired.firing, reverting_line(history, fired)
    outside = firing if isinstance(firing, OutsideFiring) else OutsideFiring()
    reverted = end.note if end is not None else None
    shown = end.reverted if end is not None else None
    later = shown.named if isinstance(shown, OutsideFiring) else ()
    return FaultWindow(
        begin_ns=fired.t_ns if outside.struck_ns is None else outside.struck_ns,
        end_ns=reverted.lifted_ns if isinstance(reverted, FaultReverted) else None,
        requests=frozenset((*outside.named, *later)),
    )


def reverting_line(history: History, fired: FaultRecord) -> FaultRecord | None:
    """The line with all effects of an injection from outside; None when no line has its end."""
    for line in history.faults:
        of_strike = (line.fault, line.n, line.pid) == (fired.fault, fired.n, fired.pid)
        if of_strike and isinstance(line.note, FaultReverted):
            return line
    return None


CUT = "network_cut"
SLACK_NS = NS_PER_S // 2
"""A client may see the end of its connection a little later, and a new one begin to fail a little earlier."""


@per_history
def given_up(history: History) -> dict[str, FaultRecord]:
    """The requests that the server gave up before they were done, each with its note of it."""
    notes = [line for line in history.faults if isinstance(line.note, RequestAbandoned)]
    meant = by_name(notes, history.requests)
    return {record.id: note for note in notes for record in meant.get(note.request or "", ())}


@per_history
def cut_off(history: History) -> frozenset[str]:
    """The requests that failed by their connection because the plan had it cut."""
    cuts = [
        fault_window(history, line) for line in history.faults if line.event == "fired" and line.kind == CUT
    ]
    return frozenset(record.id for record in history.requests if _is_cut(record, cuts))


def _is_cut(record: RequestRecord, cuts: Sequence[FaultWindow]) -> bool:
    error = record.error
    if record.outcome != "error" or error is None or error.kind not in CONNECTION_ERRORS:
        return False
    return any(record.id in cut.requests or _was_refused(record, cut) for cut in cuts)


def _was_refused(record: RequestRecord, cut: FaultWindow) -> bool:
    """It was sent while no connection could be made, and no response came."""
    late = cut.end_ns is not None and record.start_ns > cut.end_ns + SLACK_NS
    return record.status is None and record.start_ns >= cut.begin_ns - SLACK_NS and not late
