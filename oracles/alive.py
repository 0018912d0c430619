"""Did the server live to the end, does it answer, and does `/health` say what is true?"""

from __future__ import annotations

from history.reader import History
from history.records import Event
from history.verdict import OracleResult, Witness
from oracles.findings import Findings

NAME = "server-alive"
FINAL = "final"


def judge(history: History) -> OracleResult:
    """No unexpected death; every canary was answered, the last one above all; and `/health`, which alone
    proves nothing, agrees with each."""
    found = Findings(NAME)
    for event in history.events_of("server_exit"):
        found.violation(Witness(text=f"the server died: {_cause(event)}", t_ns=event.t_ns))
    health = {event.data.get("where"): event for event in history.events_of("health")}
    canaries = history.events_of("canary")
    for canary in canaries:
        found.checked += 1
        _judge_canary(canary, health.get(canary.data.get("where")), found)
    if not any(canary.data.get("where") == FINAL for canary in canaries):
        found.gap("no final canary was sent")
    return found.result(f"alive to the end; {found.checked} canaries were answered, and /health agreed")


def _cause(event: Event) -> str:
    code = event.data.get("code")
    if isinstance(code, int) and code < 0:
        return f"signal {-code}"
    return f"exit code {code}"


def _judge_canary(canary: Event, health: Event | None, found: Findings) -> None:
    """`health` was asked right after the canary."""
    name, answered = _name(canary), canary.data.get("ok") is True
    if not answered:
        text = f"{name} was not answered: {canary.data.get('error')}"
        if health is not None and health.data.get("ok") is True:
            text = f"false healthy: /health said that all is well, yet {text}"
        found.violation(_witness(canary, text))
    elif health is None:
        found.gap(f"nobody asked /health after {name}")
    elif health.data.get("status") is None:
        found.gap(f"/health gave no answer after {name}")
    elif health.data.get("ok") is not True:
        status = health.data.get("status")
        found.violation(_witness(canary, f"false sick: /health answered {status}, yet {name} was answered"))


def _name(canary: Event) -> str:
    where = canary.data.get("where")
    return f"the canary {where}" if str(where).startswith("after ") else f"the {where} canary"


def _witness(canary: Event, text: str) -> Witness:
    request = canary.data.get("request")
    return Witness(text=text, request=request if isinstance(request, str) else None, t_ns=canary.t_ns)
