"""The conductor's side of the control directory: arm, renew the lease, heal, and confirm."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from chaos.inside.control import LEASE, SCHEDULE
from history import layout
from history.earlier_values import revised_fault
from history.jsonl import GrowingFiles
from history.protocol.schedule import ArmedFault, Schedule
from history.records import FaultRecord
from history.scenario import FaultSpec

LEASE_S = 15.0
"""Armed faults end by themselves so long after the conductor's last renewal."""


class ControlPlane:
    """Arms and heals the faults inside one server through its control directory."""

    def __init__(
        self, control: Path, journals: Path | None = None, collect: Callable[[], None] = lambda: None
    ) -> None:
        """Make the directory, writable by its owner alone.

        `journals` is where the journals are read, if that is another folder, after `collect` was called.
        """
        self.path = control
        self._journals = GrowingFiles(journals or control, layout.JOURNALS, FaultRecord, revised_fault)
        self._collect = collect
        self._fired = 0
        self._notices: list[FaultRecord] = []
        """Lines of the journals that are not about a single injection."""
        control.mkdir(mode=0o755, exist_ok=True)
        control.chmod(0o755)
        self._epoch = 0
        self._renewed = time.monotonic()

    def arm(self, seed: int, faults: Sequence[FaultSpec]) -> None:
        """Put a schedule in force. What was armed before ends."""
        self.renew()
        armed = (
            ArmedFault(fault.id, fault.kind, fault.trigger.as_armed(), dict(fault.params)) for fault in faults
        )
        self._write(seed, tuple(armed))

    def heal(self) -> None:
        """End all faults. Harmless when nothing is armed."""
        self._write(0, ())

    def renew(self) -> float:
        """Renew the lease of the armed faults; to be called several times within LEASE_S.

        Returns the time since the last renewal, seconds.
        """
        now = time.monotonic()
        silent_s, self._renewed = now - self._renewed, now
        (self.path / LEASE).touch()
        return silent_s

    def confirmed(self, event: str, faults: Sequence[FaultSpec], since_ns: int) -> bool:
        """Whether the journals say `armed` or `healed` for each of these faults since a wall clock time."""
        journaled = {line.fault for line in self._read() if line.event == event and line.t_ns >= since_ns}
        return all(fault.id in journaled for fault in faults)

    def unsupported_faults(self, faults: Sequence[FaultSpec]) -> list[FaultSpec]:
        """The faults that the server has no injection point for, by its journals."""
        loaded = [line.loaded for line in self._read() if line.loaded is not None]
        kinds = {kind for process in loaded for kind in process.kinds or ()}
        return [fault for fault in faults if fault.kind not in kinds] if loaded else []

    def refusals(self, faults: Sequence[FaultSpec], since_ns: int) -> list[str]:
        """Why the server refused the schedule or one of these faults, since a wall clock time."""
        ids = {None, *(fault.id for fault in faults)}
        return [
            f"{line.fault or 'the schedule'}: {refusal.detail or refusal.reason}"
            for line in self._read()
            if (refusal := line.refusal) is not None and line.fault in ids and line.t_ns >= since_ns
        ]

    def fired(self) -> int:
        """How many times any fault has fired so far."""
        self._read()
        return self._fired

    def _write(self, seed: int, faults: tuple[ArmedFault, ...]) -> None:
        self._epoch += 1
        content = Schedule(v=1, epoch=self._epoch, seed=seed, lease_s=LEASE_S, faults=faults)
        draft = self.path / f".{SCHEDULE}"
        draft.write_bytes(msgspec.json.encode(content))
        draft.replace(self.path / SCHEDULE)

    def _read(self) -> list[FaultRecord]:
        """Read what was added to the journals; returns all notices so far. Raises UnreadableRun."""
        self._collect()
        for line in self._journals.new():
            if line.event == "fired":
                self._fired += 1
            elif not _of_one_injection(line):
                self._notices.append(line)
        return self._notices


def _of_one_injection(line: FaultRecord) -> bool:
    """A refusal with a number is about that invocation."""
    return line.event == "note" or (line.event == "refused" and line.n is not None)
