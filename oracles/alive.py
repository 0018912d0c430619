"""Did the server live to the end, does it answer, and does `/health` say what is true?"""

from __future__ import annotations

from collections.abc import Mapping

from history.finding import SERVER, Subject, request
from history.reader import History
from history.records import Event
from history.verdict import OracleResult
from oracles.findings import Findings
from oracles.inputs import EVENTS, FAULTS
from oracles.lives import deaths, is_ending, lives, outage_at
from oracles.rule import Rule

NAME = "server-alive"
FINAL = "final"
DIED = Rule(
    "server-alive/died",
    "The server ends only when a fault or the suite ends it.",
    "scenario",
    (EVENTS, FAULTS),
)
NOT_READY = Rule(
    "server-alive/restart-not-ready",
    "A server that is started again serves within its deadline.",
    "scenario",
    (EVENTS,),
)
NOT_STOPPED = Rule(
    "server-alive/stop-ignored", "SIGTERM ends the server without SIGKILL.", "operating system", (FAULTS,)
)
UNANSWERED = Rule(
    "server-alive/probe-failed",
    "The server answers each probe, except while a fault has ended it.",
    "HTTP and the OpenAI API",
    (EVENTS, FAULTS),
    "no final probe was sent",
)
FALSE_HEALTHY = Rule(
    "server-alive/health-false-positive",
    "/health does not answer 200 right after a probe has failed.",
    "vLLM documentation",
    (EVENTS,),
    "/health gave no answer, or was not requested",
)
FALSE_SICK = Rule(
    "server-alive/health-false-negative",
    "/health answers 200 right after a probe was answered.",
    "vLLM documentation",
    (EVENTS,),
    "/health gave no answer, or was not requested",
)
RULES = (DIED, NOT_READY, NOT_STOPPED, UNANSWERED, FALSE_HEALTHY, FALSE_SICK)


def judge(history: History) -> OracleResult:
    """No unexpected death; every canary was answered, the last one above all; and `/health`, which alone
    proves nothing, agrees with each."""
    found = Findings(NAME)
    for event in deaths(history):
        text = f"the server died: {_cause(event)}"
        found.violation(DIED, SERVER, text, figures=_numbers(event.data, "code"), t_ns=event.t_ns)
    for event in history.events_of("server_not_ready"):
        text = f"started anew, the server did not serve within {event.data.get('seconds')} s"
        figures = _numbers(event.data, "seconds")
        found.violation(NOT_READY, SERVER, text, figures=figures, t_ns=event.t_ns)
    _forced(history, found)
    health = {event.data.get("where"): event for event in history.events_of("health")}
    canaries = history.events_of("canary")
    for canary in canaries:
        found.checked += 1
        owed = outage_at(history, canary.t_ns, canary.t_ns) is None
        _judge_canary(canary, health.get(canary.data.get("where")), found, owed=owed)
    if not any(canary.data.get("where") == FINAL for canary in canaries):
        found.gap("no-final-probe", "no final canary was sent")
    told = f"alive to the end; {found.checked} canaries were answered, and /health agreed"
    ended = sum(life.cause is not None for life in lives(history))
    return found.result(told + _lives_told(history), probes=found.checked, lives_ended=ended)


def _forced(history: History, found: Findings) -> None:
    """Whoever is asked to stop does."""
    for line in history.faults:
        if is_ending(line) and line.evidence.get("forced") is True:
            text = f"the server did not stop by itself within {line.evidence.get('seconds')} s of SIGTERM"
            figures = _numbers(line.evidence, "seconds")
            found.violation(NOT_STOPPED, SERVER, text, figures=figures, t_ns=line.t_ns)


def _lives_told(history: History) -> str:
    ended = [life.cause for life in lives(history) if life.cause is not None]
    by = ", ".join(f"{cause.fault} ({cause.kind})" for cause in ended)
    return f"; {len(ended)} lives of it ended by {by}" if ended else ""


def _cause(event: Event) -> str:
    code = event.data.get("code")
    if isinstance(code, int) and code < 0:
        return f"signal {-code}"
    return f"exit code {code}"


def _judge_canary(canary: Event, health: Event | None, found: Findings, *, owed: bool) -> None:
    """`health` was asked right after the canary; an answer is `owed` where no fault has ended the server."""
    name, answered = _name(canary), canary.data.get("ok") is True
    if not answered:
        text = f"{name} was not answered: {canary.data.get('error')}"
        if health is not None and health.data.get("ok") is True:
            text = f"false healthy: /health said that all is well, yet {text}"
            found.violation(FALSE_HEALTHY, _subject(canary), text, t_ns=canary.t_ns)
        elif owed:
            found.violation(UNANSWERED, _subject(canary), text, t_ns=canary.t_ns)
    elif health is None:
        found.gap("health-not-requested", f"nobody asked /health after {name}", _subject(canary))
    elif health.data.get("status") is None:
        found.gap("health-no-answer", f"/health gave no answer after {name}", _subject(canary))
    elif health.data.get("ok") is not True:
        status = health.data.get("status")
        text = f"false sick: /health answered {status}, yet {name} was answered"
        figures = _numbers(health.data, "status")
        found.violation(FALSE_SICK, _subject(canary), text, figures=figures, t_ns=canary.t_ns)


def _numbers(data: Mapping[str, object], name: str) -> dict[str, int | float]:
    value = data.get(name)
    return {name: value} if isinstance(value, int | float) else {}


def _name(canary: Event) -> str:
    where = canary.data.get("where")
    return f"the canary {where}" if " " in str(where) else f"the {where} canary"


def _subject(canary: Event) -> Subject:
    name = canary.data.get("request")
    return request(name) if isinstance(name, str) else SERVER
