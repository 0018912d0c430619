"""Traces that several kinds of fault leave: lines of the log, tokens afterwards, the death of the server."""

from __future__ import annotations

import re

from history.records import RequestRecord
from oracles.views.fired_fault import Doubt, FiredFault
from oracles.views.incarnations import deaths
from oracles.views.timeline import NS_PER_US, lines_before_stop


def log_lines(case: FiredFault, pattern: re.Pattern[str]) -> int:
    return sum(pattern.search(line) is not None for line in lines_before_stop(case.history))


def token_after(request: RequestRecord, t_ns: int) -> bool:
    return any(request.start_ns + us * NS_PER_US > t_ns for us in request.chunk_us)


def server_died(case: FiredFault) -> Doubt | None:
    """The server died after the first strike."""
    first = min(record.t_ns for record in case.fired)
    if any(event.t_ns >= first for event in deaths(case.history)):
        return None
    return Doubt("server-lived-on", "the server lived on")
