"""Did the server live to the end, does it answer, and does `/health` say what is true?"""

from __future__ import annotations

import signal

from history.events import (
    FINAL,
    READY,
    HealthChecked,
    ProbeSent,
    ServerExit,
    ServerNotReady,
    ServerReady,
    ServerStart,
    ServerStop,
    Timed,
)
from history.reader import History
from history.verdict import SERVER, OracleResult, request
from oracles.findings import EVENTS, FAULTS, Findings, Oracle, Rule
from oracles.views.incarnations import deaths, ending, incarnations, outage_at

NAME = "server-alive"
STOPPED = (0, -signal.SIGTERM, 128 + signal.SIGTERM)
"""Exit codes of a server that ends by SIGTERM."""
FORCED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""Exit codes of a server that had to be killed, which can happen on a busy machine."""
DIED = Rule(
    "server-alive/died",
    "The server ends only when a fault or the suite ends it.",
    "scenario",
    (EVENTS, FAULTS),
)
NOT_READY = Rule(
    "server-alive/restart-not-ready",
    "A restarted server is ready within its deadline.",
    "scenario",
    (EVENTS,),
)
NOT_STOPPED = Rule(
    "server-alive/stop-ignored", "SIGTERM ends the server without SIGKILL.", "operating system", (FAULTS,)
)
BAD_EXIT = Rule(
    "server-alive/bad-exit",
    "After the run, SIGTERM ends the server with exit code 0 or by that signal.",
    "operating system",
    (EVENTS,),
    "the server was not stopped, or its exit code is not known",
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
    "/health did not answer, or was not requested",
)
FALSE_SICK = Rule(
    "server-alive/health-false-negative",
    "/health answers 200 right after a probe was answered.",
    "vLLM documentation",
    (EVENTS,),
    "/health did not answer, or was not requested",
)
RULES = (DIED, NOT_READY, NOT_STOPPED, BAD_EXIT, UNANSWERED, FALSE_HEALTHY, FALSE_SICK)


def judge(history: History) -> OracleResult:
    """Judge the server's life: no unexpected death, every probe answered, `/health` in agreement.

    `/health` alone proves nothing, and the last probe counts most.
    """
    found = Findings(NAME)
    for event in deaths(history):
        text, figures = f"the server died with {_cause(event)}", {"code": event.data.code}
        found.violation(DIED, SERVER, text, figures=figures, t_ns=event.t_ns)
    for late in history.events_of(ServerNotReady):
        text = f"the restarted server was not ready within {late.data.seconds} s"
        found.violation(NOT_READY, SERVER, text, figures={"seconds": late.data.seconds}, t_ns=late.t_ns)
    _forced(history, found)
    _stopped(history, found)
    health = {event.data.where: event.data for event in history.events_of(HealthChecked)}
    probes = history.events_of(ProbeSent)
    for probe in probes:
        found.checked += 1
        owed = outage_at(history, probe.t_ns, probe.t_ns) is None
        _judge_probe(probe, health.get(probe.data.where), found, owed=owed)
    for kind in (ServerStart, ServerReady):
        if not history.events_of(kind):
            name = kind.kind.replace("_", "-")
            found.gap(f"no-{name}", f"there is no {kind.kind} event")
    if not any(probe.data.where == FINAL for probe in probes):
        found.gap("no-final-probe", "no final probe was sent")
    passed = f"the server lived to the end; it answered {found.checked} probes, and /health agreed"
    ended = sum(life.cause is not None for life in incarnations(history))
    forced = sum(stop.data.code in FORCED for stop in history.events_of(ServerStop))
    return found.result(
        passed + _incarnations_text(history) + ("; SIGTERM alone did not end the server" if forced else ""),
        probes=found.checked,
        lives_ended=ended,
    )


def _forced(history: History, found: Findings) -> None:
    """A server that gets SIGTERM must end by itself."""
    for line in history.faults:
        ended = ending(line)
        if ended is not None and ended.forced:
            text = f"the server did not end within {ended.seconds} s of SIGTERM"
            figures = {} if ended.seconds is None else {"seconds": ended.seconds}
            found.violation(NOT_STOPPED, SERVER, text, figures=figures, t_ns=line.t_ns)


def _stopped(history: History, found: Findings) -> None:
    """A crash in the shutdown is one, too."""
    for stop in history.events_of(ServerStop):
        code = stop.data.code
        if code is not None and code not in (*STOPPED, *FORCED):
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            text = f"the server ended with {how} when it was stopped after the run"
            found.violation(BAD_EXIT, SERVER, text, figures={"code": code}, t_ns=stop.t_ns)


def _incarnations_text(history: History) -> str:
    ended = [life.cause for life in incarnations(history) if life.cause is not None]
    by = ", ".join(f"{cause.fault} ({cause.kind})" for cause in ended)
    return f"; faults ended {len(ended)} incarnations: {by}" if ended else ""


def _cause(event: Timed[ServerExit]) -> str:
    code = event.data.code
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _judge_probe(
    probe: Timed[ProbeSent], health: HealthChecked | None, found: Findings, *, owed: bool
) -> None:
    """`health` was requested after the probe; an answer is `owed` where no fault has ended the server."""
    name = _name(probe.data)
    if not probe.data.ok:
        text = f"{name} was not answered: {probe.data.error}"
        if health is not None and health.ok:
            text = f"/health answered 200 (false healthy), but {text}"
            found.violation(FALSE_HEALTHY, request(probe.data.request), text, t_ns=probe.t_ns)
        elif owed:
            found.violation(UNANSWERED, request(probe.data.request), text, t_ns=probe.t_ns)
    elif health is None:
        found.gap(
            "health-not-requested", f"/health was not requested after {name}", request(probe.data.request)
        )
    elif health.status is None:
        found.gap("health-no-answer", f"/health did not answer after {name}", request(probe.data.request))
    elif not health.ok:
        text = f"/health answered {health.status} (false sick), but {name} was answered"
        subject, figures = request(probe.data.request), {"status": health.status}
        found.violation(FALSE_SICK, subject, text, figures=figures, t_ns=probe.t_ns)


def _name(probe: ProbeSent) -> str:
    named = probe.where in (READY, FINAL)
    return f"the {probe.where} probe" if named else f"the probe {probe.where}"


ORACLE = Oracle(NAME, "the server lives to the end and still answers", (EVENTS,), judge, RULES)
