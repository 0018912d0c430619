"""Armed faults counted by hand, beside the engine that is to count them alike."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from chaos.inside.inside_kinds import KINDS
from chaos.inside.trigger_decisions import fires
from history.protocol.schedule import ArmedFault, Trigger
from tests.support.control_directory import Entry

COUNTED: st.SearchStrategy[Entry] = st.one_of(
    st.fixed_dictionaries({"probability": st.floats(0.1, 1.0)}),
    st.fixed_dictionaries({"nth": st.lists(st.integers(0, 12), max_size=5)}),
    st.fixed_dictionaries({"every": st.integers(1, 4), "offset": st.integers(0, 3)}),
)
"""Triggers by count of arrivals."""


@dataclass
class Model:
    """What one armed fault must do."""

    fault: ArmedFault
    seed: int
    arrivals: int = 0
    decided: int = 0
    fired: int = 0

    @property
    def dry(self) -> bool:
        return bool(self.fault.params.get("dry_run", False))

    def arrive(self, key: bytes = b"") -> bool:
        """Count an arrival; whether it is struck."""
        n, self.arrivals = self.arrivals, self.arrivals + 1
        trigger, site = self.fault.trigger, KINDS[self.fault.kind].site
        if trigger.limit is not None and self.decided >= trigger.limit:
            return False
        hit = fires(trigger, self.seed, self.fault.id, site, n, key.hex())
        self.decided += hit
        return hit


def model(written: Entry, seed: int) -> Model:
    """Of a fault as it stands in a schedule."""
    kind, trigger, params = written["kind"], written["trigger"], written["params"]
    assert isinstance(kind, str)
    assert isinstance(trigger, dict)
    assert isinstance(params, dict)
    nth = trigger.get("nth")
    whole = Trigger(**{**trigger, "nth": None if nth is None else tuple(nth)})
    return Model(ArmedFault(str(written["id"]), kind, whole, params), seed)
