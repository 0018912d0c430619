"""Kinds that alter the events of the conductor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from history import layout
from tests.alterations.draft import Draft
from tests.alterations.kind import REFUSED, UNKNOWN, NotApplicable, Table


def _event(kind: str, at: int = -1, **data: object) -> Callable[[Draft], None]:
    """The event of a kind at a place has other data."""

    def alter(draft: Draft) -> None:
        found = draft.events(kind)
        if not found or all(found[at]["data"].get(key) == value for key, value in data.items()):
            raise NotApplicable
        found[at]["data"].update(data)

    return alter


def _drop(kind: str, draft: Draft) -> None:
    if not draft.events(kind):
        raise NotApplicable
    events = draft.lines[layout.EVENTS]
    events[:] = [event for event in events if event["kind"] != kind]


def _add(kind: str, draft: Draft, **data: object) -> None:
    """Before the last event, which counts the lines."""
    events = draft.lines[layout.EVENTS]
    at = events[-2]
    events.insert(-1, {**at, "kind": kind, "data": data})


def _died(draft: Draft) -> None:
    _add("server_exit", draft, code=-11, pid=draft.events("server_start")[-1]["data"]["pid"])


def _started_again(draft: Draft) -> None:
    events = draft.lines[layout.EVENTS]
    start = draft.events("server_start")[-1]
    later = draft.events("phase_end")[0]
    data = {**start["data"], "pid": start["data"]["pid"] + 1}
    events.insert(events.index(later), {**later, "kind": "server_start", "data": data})


def _drop_first(kind: str, draft: Draft) -> None:
    found = draft.events(kind)
    if not found:
        raise NotApplicable
    draft.lines[layout.EVENTS].remove(found[0])


EVENTS: Table = (
    ("died", "the server ends with SIGSEGV", ("server-alive/died",), _died),
    (
        "started-again",
        "the server starts twice",
        ("counters/unexplained-restart", "server-alive", UNKNOWN),
        _started_again,
    ),
    (
        "probe-failed",
        "the last probe fails",
        ("server-alive",),
        _event("probe", ok=False, error="HTTP 503"),
    ),
    (
        "probe-failed-between",
        "a probe between phases fails",
        ("server-alive",),
        _event("probe", 1, ok=False, error="HTTP 503"),
    ),
    (
        "probe-request",
        "a probe names a request that there is not",
        ("server-alive", "outcomes", UNKNOWN),
        _event("probe", request="probe-99"),
    ),
    (
        "health-red",
        "/health is red after a good probe",
        ("server-alive/health-false-negative",),
        _event("health", ok=False, status=503),
    ),
    (
        "drain-failed",
        "the server does not come to rest",
        ("drained/not-drained",),
        _event("drained", ok=False),
    ),
    ("drain-running", "a request runs after the end", ("drained",), _event("drained", running=1.0)),
    ("drain-waiting", "a request waits after the end", ("drained",), _event("drained", waiting=1.0)),
    ("drain-usage", "blocks are in use after the end", ("drained",), _event("drained", kv_usage=0.5)),
    (
        "leak",
        "the leak probe finds blocks in use",
        ("drained/blocks-leaked",),
        _event("leak_probe", ok=False, answer='{"success":false}', detail="blocks are still held"),
    ),
    (
        "leak-silent",
        "the leak probe gets no answer",
        (UNKNOWN,),
        _event("leak_probe", ok=None, answer="", detail="timed out"),
    ),
    (
        "phase-failed",
        "the end of a phase counts a failed request",
        ("outcomes", UNKNOWN),
        _event("phase_end", ok=1, failed=1),
    ),
    ("phase-sent", "a phase sent half of its requests", ("outcomes", UNKNOWN), _event("phase_end", sent=1)),
    (
        "phase-stalled",
        "a phase ended by a stall",
        ("progress", "outcomes", UNKNOWN),
        _event("phase_end", reason="stalled"),
    ),
    (
        "stop-killed",
        "the server had to be killed at the stop",
        ("server-alive", "logs"),
        _event("server_stop", code=-9),
    ),
    (
        "stop-segfault",
        "the server crashed at the stop",
        ("server-alive", "logs"),
        _event("server_stop", code=-11),
    ),
    (
        "unconfirmed",
        "a healing was not confirmed",
        (UNKNOWN, "faults-fired"),
        _event("healed", confirmed=False),
    ),
    (
        "unclean",
        "the server was not proved clean",
        ("drained", "transfer-invariants", UNKNOWN),
        _event("clean_state", clean=False, objections=["blocks are left"]),
    ),
    ("failed", "the run failed", (UNKNOWN,), lambda draft: _add("run_failed", draft, reason="no room")),
    (
        "interrupted",
        "the run was interrupted",
        (UNKNOWN,),
        lambda draft: _add("interrupted", draft, signal="SIGINT"),
    ),
    ("odd", "there is an event of no kind", (REFUSED,), lambda draft: _add("mood", draft, ok=True)),
    *(
        (f"no-{kind}", f"there is no event {kind}", (UNKNOWN,), partial(_drop, kind))
        for kind in (
            "probe",
            "health",
            "drained",
            "leak_probe",
            "armed",
            "healed",
            "phase_start",
            "phase_end",
            "server_ready",
            "server_start",
            "server_stop",
            "evidence",
        )
    ),
    ("no-first-phase", "the first phase never began", (UNKNOWN,), partial(_drop_first, "phase_start")),
    ("no-first-phase-end", "the first phase never ended", (UNKNOWN,), partial(_drop_first, "phase_end")),
)
