"""What the server's processes use at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import msgspec

from history.events import Drained, PhaseEnd, stored
from history.reader import History
from history.records import Event, ResourceRecord
from kvchaos.selftest.alterations.alteration import Alteration
from oracles import resources
from oracles.resources import MIB, ROUNDS, RULE_OF

STEP_NS = 1_000_000


def _more(what: str, changes: Callable[[ResourceRecord], dict[str, int]]) -> Alteration:
    return Alteration(RULE_OF[what], f"there are more {what} at the end", partial(_at_end, changes))


def _at_end(changes: Callable[[ResourceRecord], dict[str, int]], history: History) -> History:
    *earlier, last = history.resources
    return replace(history, resources=[*earlier, msgspec.structs.replace(last, **changes(last))])


def _jumped(usage: ResourceRecord) -> dict[str, int]:
    return {"anonymous_bytes": usage.anonymous_bytes + 10_000 * MIB}


def _grows(history: History) -> History:
    """Further quiet moments, with 100 MiB more in each."""
    end = stored(history.events_of(PhaseEnd)[0])
    *earlier, last = history.resources
    moments: list[ResourceRecord] = []
    events: list[Event] = []
    for number in range(1, ROUNDS + 1):
        at_ns = last.t_ns + number * STEP_NS
        more = last.anonymous_bytes + number * 100 * MIB
        moments.append(msgspec.structs.replace(last, t_ns=at_ns, mono_ns=at_ns, anonymous_bytes=more))
        events.append(msgspec.structs.replace(end, t_ns=at_ns, mono_ns=at_ns))
    others = [event for event in history.events if event.kind != Drained.kind]
    drained = stored(replace(history.events_of(Drained)[-1], t_ns=moments[-1].t_ns + STEP_NS))
    return replace(history, resources=[*earlier, last, *moments], events=[*others, *events, drained])


ALTERATIONS = (
    _more("processes", lambda usage: {"processes": usage.processes + 1}),
    _more("threads", lambda usage: {"threads": usage.threads + 2 * resources.POOL_THREADS}),
    _more("open files", lambda usage: {"files": usage.files + 100}),
    _more("bytes under /dev/shm", lambda usage: {"shm_bytes": usage.shm_bytes + 10 * MIB}),
    _more("uncollected children", lambda usage: {"zombies": (usage.zombies or 0) + 5}),
    Alteration(resources.MEMORY_AT_END, "10,000 MiB more at the end", partial(_at_end, _jumped)),
    Alteration(
        resources.GONE,
        "a process is gone at the end",
        partial(_at_end, lambda usage: {"processes": usage.processes - 1}),
    ),
    Alteration(resources.MEMORY, "memory grows from phase to phase", _grows),
)
