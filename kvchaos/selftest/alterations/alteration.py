"""The parts of a history that alterations change."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from history.events import EventData, Timed, stored
from history.reader import History
from history.records import Event, RequestRecord
from history.scenario import Scenario, ServerSettings


def with_scenario(history: History, **changes: object) -> History:
    """Other settings of the scenario, unchecked."""
    scenario: Scenario = history.plan.scenario.model_copy(update=changes)
    return replace(history, plan=history.plan.model_copy(update={"scenario": scenario}))


def with_server(history: History, **changes: object) -> History:
    """The history with other settings of the server in its plan."""
    settings: ServerSettings = history.plan.scenario.server.model_copy(update=changes)
    return with_scenario(history, server=settings)


def with_limits(history: History, **changes: object) -> History:
    """The history with other limits in its plan."""
    return with_scenario(history, limits=history.plan.scenario.limits.model_copy(update=changes))


def with_request(history: History, record: RequestRecord, **changes: object) -> History:
    """One of its requests is otherwise."""
    changed = msgspec.structs.replace(record, **changes)
    requests = [changed if each is record else each for each in history.requests]
    return replace(history, requests=requests)


def with_event(history: History, data: EventData, t_ns: int | None = None) -> History:
    """One more event, at a time or after the last one."""
    at_ns = history.events[-1].t_ns if t_ns is None else t_ns
    event = stored(Timed(at_ns, at_ns, data))
    return replace(history, events=sorted([*history.events, event], key=lambda each: each.t_ns))


def with_data(history: History, kind: type[EventData], where: str | None = None, **data: object) -> History:
    """Events of a kind, those of one `where` if that is given, have other data."""

    def changed(event: Timed[EventData]) -> Event:
        fits = isinstance(event.data, kind) and where in (None, getattr(event.data, "where", None))
        other = msgspec.structs.replace(event.data, **data) if fits else event.data
        return stored(replace(event, data=other))

    return replace(history, events=[changed(event) for event in history.timed])


def answered_request(history: History) -> RequestRecord:
    """A request of the last phase of load that was answered with several tokens."""
    last = history.plan.scenario.phases[-1].name
    return next(record for record in history.requests if record.phase == last and len(record.token_ids) > 2)
