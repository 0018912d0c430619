"""Events with their times, between the lines of events.jsonl and the types of what they say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from history.events import TYPES, EventData, EvidenceCounted
from history.records import Event

_BY_KIND = {each.kind: each for each in TYPES}

D_co = TypeVar("D_co", bound=EventData, covariant=True)
D = TypeVar("D", bound=EventData)


@dataclass(frozen=True, slots=True)
class Timed(Generic[D_co]):
    """An event and when it happened: wall clock and monotonic time, ns."""

    t_ns: int
    mono_ns: int
    data: D_co


def stored(event: Timed[EventData]) -> Event:
    """The line of events.jsonl."""
    return Event(t_ns=event.t_ns, mono_ns=event.mono_ns, kind=event.data.kind, data=shown(event.data))


def typed(line: Event) -> Timed[EventData]:
    """The event of a line of events.jsonl. Raises msgspec.ValidationError."""
    kind = _BY_KIND.get(line.kind)
    if kind is None:
        raise msgspec.ValidationError(f"unknown kind of event {line.kind!r}")
    data: Any = {"lines": line.data} if kind is EvidenceCounted else line.data
    return Timed(line.t_ns, line.mono_ns, msgspec.convert(data, kind))


def of_type(events: Iterable[Timed[EventData]], kind: type[D]) -> list[Timed[D]]:
    """Those of one kind, in their order."""
    return [Timed(each.t_ns, each.mono_ns, each.data) for each in events if isinstance(each.data, kind)]


def shown(data: EventData) -> dict[str, Any]:
    """The fields of an event that have a value, as its line holds them."""
    found: dict[str, Any] = msgspec.to_builtins(data)
    return found["lines"] if isinstance(data, EvidenceCounted) else found
