"""The fault journals."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from history.reader import History
from history.records import FaultRecord
from kvchaos.selftest.alterations.alteration import Alteration
from oracles import faults_fired


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


ALTERATIONS = (
    Alteration(faults_fired.NOT_ARMED, "a fault fires before it is armed", _before_it_was_armed),
    Alteration(faults_fired.OVER_LIMIT, "a fault fires more often than its limit", _too_often),
)
