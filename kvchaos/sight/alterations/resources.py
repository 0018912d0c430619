"""What the server's processes use at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec

from history.events import Drained, PhaseEnd
from history.reader import History
from history.records import Event, ResourceRecord
from history.timed import stored
from kvchaos.sight.alterations.alteration import Alteration
from oracles import resources
from oracles.resources import MIB, ROUNDS, RULE_OF

STEP_NS = 1_000_000


def _more(what: str, changes: Callable[[ResourceRecord], dict[str, int]]) -> Alteration:
    def alter(history: History) -> History:
        *earlier, last = history.resources
        return replace(history, resources=[*earlier, msgspec.structs.replace(last, **changes(last))])

    return Alteration(RULE_OF[what], f"there are more {what} at the end", alter)


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
    Alteration(resources.MEMORY, "memory grows from phase to phase", _grows),
)
