"""All kinds of mutants by name."""

from __future__ import annotations

from tests.fuzz.control import CONTROL
from tests.fuzz.histories import HISTORIES, REMOVED
from tests.fuzz.kind import Kind
from tests.fuzz.metrics import METRICS_TEXT
from tests.fuzz.scenarios import SCENARIOS
from tests.fuzz.schedules import SCHEDULES
from tests.fuzz.traces import TRACES

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (SCENARIOS, SCHEDULES, TRACES, CONTROL, METRICS_TEXT, HISTORIES, REMOVED)
}
