"""The conductor's side of the control directory: arm, renew the lease, heal, and see it confirmed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from chaos.inside.control import LEASE, SCHEDULE
from history.lines import read_lines
from history.plan import FaultSpec
from history.records import FaultRecord

LEASE_S = 15.0
"""Armed faults end by themselves so long after the conductor was last seen."""


class ControlPlane:
    """Arms and heals the faults inside one server through its control directory."""

    def __init__(
        self, control: Path, journals: Path | None = None, collect: Callable[[], None] = lambda: None
    ) -> None:
        """Make the directory, writable by its owner alone.

        `journals` is where the journals are read, if that is another folder, after `collect` was called.
        """
        self.path = control
        self._journals = journals or control
        self._collect = collect
        control.mkdir(mode=0o755, exist_ok=True)
        control.chmod(0o755)
        self._epoch = 0
        self._renewed = time.monotonic()

    def arm(self, seed: int, faults: Sequence[FaultSpec]) -> None:
        """Put a schedule in force. What was armed before ends."""
        self.renew()
        self._write(
            seed, [fault.model_dump(mode="json", exclude_none=True, exclude={"phase"}) for fault in faults]
        )

    def heal(self) -> None:
        """End all faults. Harmless when nothing is armed."""
        self._write(0, [])

    def renew(self) -> float:
        """Say that the conductor still lives; to be called several times within LEASE_S.

        Returns how long ago it last did, seconds.
        """
        now = time.monotonic()
        silent_s, self._renewed = now - self._renewed, now
        (self.path / LEASE).touch()
        return silent_s

    def confirmed(self, event: str, faults: Sequence[FaultSpec], since_ns: int) -> bool:
        """Whether the journals say `armed` or `healed` for each of these faults since a wall clock time."""
        seen = {line.fault for line in self._journal() if line.event == event and line.t_ns >= since_ns}
        return all(fault.id in seen for fault in faults)

    def unreachable(self, faults: Sequence[FaultSpec]) -> list[FaultSpec]:
        """Those of the faults that its journals say the server has no place for."""
        loaded = [line for line in self._journal() if line.event == "loaded"]
        kinds = {kind for line in loaded for kind in _kinds(line)}
        return [fault for fault in faults if fault.kind not in kinds] if loaded else []

    def refusals(self, faults: Sequence[FaultSpec], since_ns: int) -> list[str]:
        """Why the server has not taken the schedule or one of these faults, since a wall clock time."""
        ids = {None, *(fault.id for fault in faults)}
        return [
            f"{line.fault or 'the schedule'}: {line.evidence.get('reason')}"
            for line in self._journal()
            # With a number it is about a strike.
            if line.event == "refused" and line.n is None and line.fault in ids and line.t_ns >= since_ns
        ]

    def fired(self) -> int:
        """How many times any fault has fired so far."""
        return sum(line.event == "fired" for line in self._journal())

    def _write(self, seed: int, faults: list[dict[str, object]]) -> None:
        self._epoch += 1
        content = {"v": 1, "epoch": self._epoch, "seed": seed, "lease_s": LEASE_S, "faults": faults}
        draft = self.path / f".{SCHEDULE}"
        draft.write_text(json.dumps(content))
        draft.replace(self.path / SCHEDULE)

    def _journal(self) -> Iterator[FaultRecord]:
        """Raises UnreadableRun."""
        self._collect()
        for path in sorted(self._journals.glob("faults-*.jsonl")):
            yield from read_lines(path, FaultRecord)


def _kinds(loaded: FaultRecord) -> list[str]:
    kinds = loaded.evidence.get("kinds")
    return [str(kind) for kind in kinds] if isinstance(kinds, list) else []
