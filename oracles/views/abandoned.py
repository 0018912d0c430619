"""Requests whose client left, or whose connection was cut: by the client's word, and by the server's."""

from __future__ import annotations

from collections.abc import Sequence

from history.protocol.evidence import RequestAbandoned
from history.reader import History, per_history
from history.records import FaultRecord, RequestRecord
from oracles.views.fault_windows import FaultWindow, fault_window
from oracles.views.struck_requests import by_name
from oracles.views.timeline import NS_PER_S

CUT = "network_cut"
CONNECTION_ERRORS = frozenset(
    {"ConnectError", "ReadError", "WriteError", "CloseError", "RemoteProtocolError"}
)
"""How the load client names the end of a connection."""
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
