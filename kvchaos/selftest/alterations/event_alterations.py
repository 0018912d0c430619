"""Alterations of the run's events, of its fault journals, and of the requests after healing."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from history.events import (
    FINAL,
    Drained,
    FaultsHealed,
    HealthChecked,
    ProbeSent,
    ServerExit,
    ServerNotReady,
    ServerStart,
    ServerStop,
)
from history.reader import History
from history.records import DEADLINE_EXCEEDED, FaultRecord, RequestError
from kvchaos.selftest.alterations.alteration import (
    answered_request,
    with_data,
    with_event,
    with_request,
)
from oracles import alive, drained, faults_fired, progress
from oracles.findings import Alteration
from oracles.views.incarnations import OUTSIDE

HOUR_US = 3_600_000_000


def _died(history: History) -> History:
    return with_event(history, ServerExit(code=-11, pid=history.events_of(ServerStart)[-1].data.pid))


def _never_ready(history: History) -> History:
    return with_event(history, ServerNotReady(seconds=180.0, alive=True))


def _stop_ignored(history: History) -> History:
    at_ns = history.events[-1].t_ns
    line = FaultRecord(
        t_ns=at_ns,
        mono_ns=at_ns,
        role=OUTSIDE,
        pid=1,
        event="fired",
        fault="stop",
        kind="stop",
        site=None,
        n=0,
        request=None,
        evidence={"forced": True, "seconds": 20.0},
    )
    return replace(history, faults=[*history.faults, line])


def _probe_unanswered(history: History) -> History:
    sick = with_data(history, HealthChecked, FINAL, ok=False, status=503)
    return with_data(sick, ProbeSent, FINAL, ok=False, error="HTTP 503")


def _past_its_deadline(history: History) -> History:
    late = RequestError(kind=DEADLINE_EXCEEDED, status=None, message="no end in time")
    return with_request(history, answered_request(history), outcome="error", error=late)


def _stands_still(history: History) -> History:
    record = answered_request(history)
    first, *later = record.chunk_us
    chunk_us = [first, *(us + HOUR_US for us in later)]
    return with_request(history, record, chunk_us=chunk_us, end_us=record.end_us + HOUR_US)


def _nothing_answered_after_healing(history: History) -> History:
    healed_ns = max(event.t_ns for event in history.events_of(FaultsHealed))
    requests = [
        msgspec.structs.replace(record, outcome="error") if record.start_ns >= healed_ns else record
        for record in history.requests
    ]
    return replace(history, requests=requests)


def _crashes_in_its_shutdown(history: History) -> History:
    return with_data(history, ServerStop, code=-11)


def _did_not_drain(history: History) -> History:
    return with_data(history, Drained, ok=False)


_OF_EVENTS = (
    Alteration(alive.DIED, "the server ends with SIGSEGV", _died),
    Alteration(alive.NOT_READY, "a server that was started again never serves", _never_ready),
    Alteration(alive.NOT_STOPPED, "a server that is to stop needs SIGKILL", _stop_ignored),
    Alteration(alive.BAD_EXIT, "the server ends its shutdown with SIGSEGV", _crashes_in_its_shutdown),
    Alteration(alive.UNANSWERED, "the last probe fails", _probe_unanswered),
    Alteration(progress.DEADLINE, "a request runs into its deadline", _past_its_deadline),
    Alteration(progress.ANSWER, "an answer pauses for an hour", _stands_still),
    Alteration(progress.NO_RECOVERY, "no request after healing is answered", _nothing_answered_after_healing),
    Alteration(drained.NOT_DRAINED, "the server does not drain", _did_not_drain),
)


def _fired(history: History) -> FaultRecord:
    limits = {fault.id for fault in history.plan.scenario.faults if fault.trigger.limit is not None}
    return next(line for line in history.faults if line.event == "fired" and line.fault in limits)


def _before_it_was_armed(history: History) -> History:
    line = msgspec.structs.replace(_fired(history), t_ns=history.events[0].t_ns)
    return replace(history, faults=[*history.faults, line])


def _too_often(history: History) -> History:
    line = _fired(history)
    limit = next(fault.trigger.limit for fault in history.plan.scenario.faults if fault.id == line.fault)
    return replace(history, faults=[*history.faults, *[line] * (limit or 0)])


_OF_FAULTS = (
    Alteration(faults_fired.NOT_ARMED, "a fault fires before it is armed", _before_it_was_armed),
    Alteration(faults_fired.OVER_LIMIT, "a fault fires more often than its limit", _too_often),
)


ALTERATIONS = (*_OF_EVENTS, *_OF_FAULTS)
