"""The conductor's side of the control directory, by hand: the conductor lives in another interpreter."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chaos.inside import process_globals
from chaos.inside.control import LEASE, SCHEDULE
from tests.server.contract.waiting import wait_until


class Control:
    """Arms and heals one fault, and reads the journal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._epoch = 0
        self.breaks: list[str] = []
        """Rules of the ledger that this check breaks on purpose."""

    def arm(self, kind: str, trigger: Mapping[str, object] | None = None, **params: object) -> None:
        """Arm one fault, `f1`, and wait until the journal says so. Strikes every arrival by default."""
        self._put([{"id": "f1", "kind": kind, "trigger": trigger or {"every": 1}, "params": params}])
        self._wait("armed")

    def heal(self) -> dict[str, Any]:
        """End the fault; its `healed` line."""
        self._put([])
        return self._wait("healed")

    def fired(self) -> list[dict[str, Any]]:
        """The proofs so far."""
        return [line["evidence"] for line in self.lines() if line["event"] == "fired"]

    def lines(self) -> list[dict[str, Any]]:
        paths = sorted(self.path.glob("faults-*.jsonl"))
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]

    def broken(self) -> list[str]:
        """Rules of the ledger that were broken so far."""
        paths = sorted(self.path.glob("ledger-*.jsonl"))
        lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
        return [line["rule"] for line in lines if line["event"] == "violation"]

    def _put(self, faults: list[dict[str, object]]) -> None:
        self._epoch += 1
        self._lines_before = len(self.lines())
        content = {"v": 1, "epoch": self._epoch, "seed": 11, "lease_s": 120, "faults": faults}
        (self.path / LEASE).touch()
        draft = self.path / ".draft"
        draft.write_text(json.dumps(content))
        draft.replace(self.path / SCHEDULE)

    def _wait(self, event: str) -> dict[str, Any]:
        def new() -> list[dict[str, Any]]:
            return [line for line in self.lines()[self._lines_before :] if line["event"] == event]

        wait_until(lambda: bool(new()), f"the journal says {event}")
        return new()[0]


@contextmanager
def control_room() -> Iterator[Control]:
    """A control directory, and no engine left from the check before.

    Whatever is done, with faults and without, the ledger must find nothing that was not done on purpose.
    """
    process_globals._runtimes.clear()
    with tempfile.TemporaryDirectory() as folder:
        control = Control(Path(folder))
        yield control
        assert control.broken() == control.breaks
        for runtime in process_globals._runtimes.values():
            runtime.close()
    process_globals._runtimes.clear()
