"""Kinds that alter what the client recorded of itself, and the resources of the server."""

from __future__ import annotations

from collections.abc import Callable

from history import layout
from tests.alterations.draft import Draft, Record
from tests.alterations.kind import UNKNOWN, NotApplicable, Table

SECOND_NS = 1_000_000_000
SECOND_US = 1_000_000
MIB = 1 << 20


def _with_lag(lines: list[Record]) -> None:
    for line in lines:
        line.update(event_loop_lag_us=[60_000_000] * 17)


def _all_of(name: str, change: Callable[[list[Record]], object]) -> Callable[[Draft], None]:
    def alter(draft: Draft) -> None:
        if not draft.lines.get(name):
            raise NotApplicable
        change(draft.lines[name])

    return alter


def _last(field: str, change: Callable[[int], int]) -> Callable[[Draft], None]:
    """The last samples, those of the drained server."""

    def alter(draft: Draft) -> None:
        lines = draft.lines.get(layout.RESOURCES) or []
        if not lines:
            raise NotApplicable
        for line in lines[-2:]:
            line[field] = change(line[field])

    return alter


def _busy(lines: list[Record]) -> None:
    """Over a stretch that is long enough to tell."""
    for line in lines:
        line.update(wall_us=line["wall_us"] + 10 * SECOND_US, cpu_us=line["wall_us"] + 10 * SECOND_US)


def _cut_phase(lines: list[Record]) -> None:
    phase = lines[-1]["phase"]
    lines[:] = [line for line in lines if line["phase"] != phase]


CLIENT: Table = (
    ("client/lost", "the client says nothing of itself", (UNKNOWN,), _all_of(layout.CLIENT, list.clear)),
    (
        "client/phase-lost",
        "the client says nothing of a phase",
        (UNKNOWN,),
        _all_of(layout.CLIENT, _cut_phase),
    ),
    (
        "client/slow",
        "the client was late by a minute",
        (UNKNOWN,),
        _all_of(layout.CLIENT, _with_lag),
    ),
    (
        "client/busy",
        "the client needed all of a processor",
        (UNKNOWN,),
        _all_of(layout.CLIENT, _busy),
    ),
    (
        "client/collector",
        "the client collected garbage for a minute",
        (UNKNOWN,),
        _all_of(layout.CLIENT, lambda lines: [line.update(gc_pause_us=[60_000_000]) for line in lines]),
    ),
    (
        "resources/lost",
        "nothing is known of the server's resources",
        (UNKNOWN,),
        _all_of(layout.RESOURCES, list.clear),
    ),
    (
        "resources/end-lost",
        "there is no sample of the end",
        (UNKNOWN,),
        _all_of(layout.RESOURCES, lambda lines: lines.__delitem__(slice(len(lines) // 2, None))),
    ),
    (
        "resources/stale",
        "all samples are an hour old",
        (UNKNOWN,),
        _all_of(
            layout.RESOURCES,
            lambda lines: [line.update(t_ns=line["t_ns"] - 3600 * SECOND_NS) for line in lines],
        ),
    ),
    (
        "resources/processes",
        "five processes are left over",
        ("resources/processes",),
        _last("processes", lambda n: n + 5),
    ),
    (
        "resources/processes-fewer",
        "a process is missing at the end",
        ("resources/process-gone",),
        _last("processes", lambda n: n - 1),
    ),
    (
        "resources/threads",
        "200 threads are left over",
        ("resources/threads",),
        _last("threads", lambda n: n + 200),
    ),
    (
        "resources/files",
        "200 files are left open",
        ("resources/open-files",),
        _last("files", lambda n: n + 200),
    ),
    (
        "resources/sockets",
        "200 sockets are left open",
        ("resources/sockets",),
        _last("sockets", lambda n: n + 200),
    ),
    (
        "resources/shared-memory",
        "64 MiB are left in /dev/shm",
        ("resources/shared-memory",),
        _last("shm_bytes", lambda n: n + 64 * MIB),
    ),
    (
        "resources/zombies",
        "five children have ended and are not collected",
        ("resources/zombies",),
        _all_of(layout.RESOURCES, lambda lines: [line.update(zombies=5) for line in lines[-2:]]),
    ),
    (
        "resources/memory",
        "4 GiB more are in use at the end",
        ("resources/memory", "resources/memory-at-end"),
        _last("anonymous_bytes", lambda n: n + 4096 * MIB),
    ),
    (
        "resources/leader",
        "the samples at the end are of another process",
        ("server-alive", "resources", UNKNOWN),
        _last("leader", lambda n: n + 1),
    ),
)
