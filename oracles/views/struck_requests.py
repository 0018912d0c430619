"""Which requests of ours a line of the fault journal means, and which were on their way at a moment.

A long run has many lines and many more requests: all lines are answered by one look at each request.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from history.protocol.evidence import CompletionsReordered
from history.protocol.outside import OutsideFiring
from history.records import FaultRecord, RequestRecord
from oracles.views.timeline import end_ns

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
    """Whom a line names; empty where it names nobody."""
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
        self._longest_ns = max((end_ns(record) - record.start_ns for record in requests), default=0)

    def at(self, t_ns: int) -> list[RequestRecord]:
        first = bisect_left(self._starts, t_ns - self._longest_ns)
        begun = self._by_start[first : bisect_right(self._starts, t_ns)]
        return [record for record in begun if end_ns(record) >= t_ns]
