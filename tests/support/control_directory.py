"""A control directory with a real fault runtime on it, as in a server's process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from chaos.inside.control import LEASE, SCHEDULE
from chaos.inside.fault_runtime import NONE, FaultRuntime, StatesOf, unknown
from history.earlier_values import revised_fault
from history.records import FaultRecord

DEADLINE_S = 20.0
FAST_POLL_S = 0.002
"""Hundreds of schedules are armed, so the journals are read so often."""

Entry = dict[str, object]


def entry(fault: str, kind: str, trigger: Entry | None = None, **params: object) -> Entry:
    """A fault as it stands in a schedule; strikes every arrival unless a trigger is given."""
    return {"id": fault, "kind": kind, "trigger": trigger or {"every": 1}, "params": params}


def schedule(*faults: Entry, seed: object = 7, epoch: object = 1, lease_s: object = 30.0) -> Entry:
    """A fault schedule as the conductor writes it, without validation."""
    return {"v": 1, "epoch": epoch, "seed": seed, "lease_s": lease_s, "faults": list(faults)}


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Raises AssertionError when it does not come true within DEADLINE_S."""
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, f"not within {DEADLINE_S:.0f} s: {what}"
        time.sleep(FAST_POLL_S)


class Room:
    """A control directory. Its schedules are written by hand here, so that they can be wrong.

    As a context it ends the engines that were started on it.
    """

    def __init__(self, control: Path) -> None:
        self.path = control
        self._read: dict[Path, int] = {}
        """Bytes of each journal whose lines are known."""
        self._lines: dict[Path, list[FaultRecord]] = {}
        self._engines: list[FaultRuntime] = []
        control.mkdir(mode=0o755, exist_ok=True)

    def start(
        self,
        role: str = "scheduler",
        states_of: StatesOf = unknown,
        unsupported_kinds: Mapping[str, str] = NONE,
        *,
        ledger: bool = True,
    ) -> FaultRuntime:
        engine = FaultRuntime(role, self.path, "G0", states_of, unsupported_kinds, ledger=ledger)
        self._engines.append(engine)
        return engine

    def close(self) -> None:
        for engine in self._engines:
            engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def put(self, content: Mapping[str, object] | str | bytes) -> None:
        """Put a schedule in force, as the conductor does: lease first, then an atomic rename."""
        self.renew()
        if isinstance(content, Mapping):
            content = json.dumps(content)
        draft = self.path / ".draft"
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
        draft.replace(self.path / SCHEDULE)

    def renew(self) -> None:
        (self.path / LEASE).touch()

    def lose_lease(self) -> None:
        (self.path / LEASE).unlink()

    def withdraw(self) -> None:
        (self.path / SCHEDULE).unlink()

    def lines(self) -> list[FaultRecord]:
        """All lines of all journals, decoded as strictly as the judges do."""
        journals = sorted(self.path.glob("faults-*.jsonl"))
        for path in journals:
            self._read_on(path)
        return [line for path in journals for line in self._lines[path]]

    def _read_on(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(self._read.setdefault(path, 0))
            whole, _, _ = file.read().rpartition(b"\n")
        lines = whole.splitlines()
        self._lines.setdefault(path, []).extend(
            revised_fault(msgspec.json.decode(line, type=FaultRecord)) for line in lines
        )
        self._read[path] += len(whole) + 1 if whole else 0

    def events(self, event: str) -> list[FaultRecord]:
        return [line for line in self.lines() if line.event == event]

    def arm(self, *faults: Entry, seed: int = 7) -> None:
        """Put a schedule in force and wait until the journal says so for each of these faults."""
        before = len(self.events("armed"))
        self.put(schedule(*faults, seed=seed))
        self.wait_for("armed", before + len(faults))

    def heal(self, faults: Sequence[str]) -> list[FaultRecord]:
        """End the faults that are armed and return their `healed` lines."""
        before = len(self.events("healed"))
        self.put(schedule())
        return self.healed(before, len(faults))

    def healed(self, before: int, count: int) -> list[FaultRecord]:
        """Wait for so many `healed` lines after the first `before`."""
        self.wait_for("healed", before + count)
        return self.events("healed")[before:]

    def wait_for(self, event: str, count: int) -> None:
        """Wait until the journals hold so many lines of an event."""
        wait_until(lambda: len(self.events(event)) >= count, f"{count} lines {event!r} in the journal")
