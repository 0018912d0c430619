"""Did the server live to the end, and does it still answer?"""

from __future__ import annotations

from history.reader import History
from history.records import Event
from history.verdict import OracleResult, Witness
from oracles.findings import Findings

NAME = "server-alive"


def judge(history: History) -> OracleResult:
    """No unexpected death, and the last canary was answered. `/health` alone proves nothing."""
    found = Findings(NAME)
    for event in history.events_of("server_exit"):
        found.violation(Witness(text=f"the server died: {_cause(event)}", t_ns=event.t_ns))
    finals = [event for event in history.events_of("canary") if event.data.get("where") == "final"]
    for event in finals:
        found.checked += 1
        if event.data.get("ok") is not True:
            found.violation(_unanswered(history, event))
    if not finals:
        found.gap("no final canary was sent")
    return found.result("alive to the end; the final canary was answered")


def _cause(event: Event) -> str:
    code = event.data.get("code")
    if isinstance(code, int) and code < 0:
        return f"signal {-code}"
    return f"exit code {code}"


def _unanswered(history: History, event: Event) -> Witness:
    healthy = any(
        health.data.get("where") == "final" and health.data.get("ok") is True
        for health in history.events_of("health")
    )
    claim = "; false healthy: /health said it was well" if healthy else ""
    request = event.data.get("request")
    return Witness(
        text=f"the final canary was not answered: {event.data.get('error')}{claim}",
        request=request if isinstance(request, str) else None,
        t_ns=event.t_ns,
    )
