"""Whether a run went to its end, with all that it left: what was cut short proves nothing."""

from __future__ import annotations

from bisect import bisect_left

from history import layout
from history.events import (
    FINAL,
    CleanState,
    EvidenceCounted,
    InterruptedBy,
    PhaseEnd,
    PhaseStart,
    ProbeSent,
    RunFailed,
    ServerExit,
    ServerStop,
)
from history.finding import SERVER, Gap, Subject
from history.finding import phase as phase_subject
from history.reader import History
from oracles.views.incarnations import incarnations

RESEAL = ", or seal what was altered on purpose with: kvchaos reseal RUN_DIR"


def cut_short(history: History) -> Gap | None:
    """Why the run did not go to its end, None when it did."""
    for broken in history.seal.broken:
        return _cut("seal-broken", f"{broken}; judge the run directory as the run left it{RESEAL}")
    for failed in history.events_of(RunFailed):
        return _cut("failed", f"the run failed: {failed.data.reason}")
    for interrupted in history.events_of(InterruptedBy):
        return _cut("interrupted", f"the run was interrupted by {interrupted.data.signal}")
    for change in history.changed:
        return _cut("changed", f"{change}; judge the run directory as the run left it")
    if not any(event.data.where == FINAL for event in history.events_of(ProbeSent)):
        return _cut("broke-off", "the run broke off: its conductor never came to the end")
    if history.plan.notes_evidence and not history.events_of(EvidenceCounted):
        return _cut(
            "evidence-missing", "the run broke off: its conductor never noted how many lines its files have"
        )
    if history.plan.sealed and history.seal.state == "unsealed":
        return _cut("seals-missing", f"the run broke off before it sealed its files: no {layout.SEALS}")
    return _not_stopped(history) or _restart_not_scraped(history) or _missing_phase(history)


def _not_stopped(history: History) -> Gap | None:
    """At the end of a run its server is stopped, or left to the next run, unless it has ended."""
    ends = (ServerStop, ServerExit, CleanState)
    if history.plan.stack != "local" or any(history.events_of(kind) for kind in ends):
        return None
    return _cut("stop-missing", "the run broke off: no event says that its server was stopped, or left up")


def _restart_not_scraped(history: History) -> Gap | None:
    """The scrapes after a restart are of another server process."""
    log = history.metrics
    for life in incarnations(history)[1:]:
        index = bisect_left(log.times_ns, life.start_ns)
        if 0 < index < len(log) and log.incarnations[index - 1] == log.incarnations[-1]:
            return _cut(
                "restart-not-seen", "the events say that the server was restarted, its scrapes do not"
            )
    return None


def _cut(kind: str, text: str, subject: Subject = SERVER) -> Gap:
    return Gap(kind=f"run/{kind}", subject=subject, text=text)


def _missing_phase(history: History) -> Gap | None:
    """A phase that the run must have passed and whose events are missing."""
    ends = {event.data.phase: event.data.reason for event in history.events_of(PhaseEnd)}
    begun = {event.data.phase for event in history.events_of(PhaseStart)}
    for phase in history.plan.scenario.phases:
        if phase.name not in begun or phase.name not in ends:
            what = "end" if phase.name in begun else "begin"
            text = f"phase {phase.name}: its {what} is not in the events"
            return _cut("phase-missing", text, phase_subject(phase.name))
        if ends[phase.name] != "done":
            return None  # The phases after it were given up, and the oracles know why.
    return None
