"""The journal of the faults: one JSON Lines file a role and process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chaos.inside import bounded_jsonl
from chaos.inside.bounded_jsonl import RoleFile
from history.protocol.evidence import Armed, Evidence, Firing, Healed, Loaded, Refused
from history.protocol.notes import Note

RESERVE_BYTES = 1 << 20
"""Reserved for the proofs of injections in progress and for the lines that end the faults."""

EVENTS: tuple[tuple[type[Evidence | Note], str], ...] = (
    (Firing, "fired"),
    (Note, "note"),
    (Loaded, "loaded"),
    (Armed, "armed"),
    (Healed, "healed"),
    (Refused, "refused"),
)
"""Events by the type of their evidence."""


class Journal:
    """Writes `faults-<role>-<pid>.jsonl` in the control directory.

    Faults fire only while it `has_room`: no fault may be applied without its evidence.
    """

    def __init__(self, control: Path, role: str) -> None:
        self._file = RoleFile(control, "faults", role)

    @property
    def open(self) -> bool:
        return self._file.open

    @property
    def has_room(self) -> bool:
        """Whether the proof of one more fault surely fits, as far as the bound goes."""
        return self._file.open and self._file.written <= bounded_jsonl.MAX_BYTES - RESERVE_BYTES

    def close(self) -> None:
        self._file.close()

    def write(
        self,
        evidence: Evidence | Note,
        *,
        fault: str | None = None,
        kind: str | None = None,
        site: str | None = None,
        n: int | None = None,
        request: str | None = None,
        states: Sequence[str] = (),
    ) -> bool:
        """Append a line of the event that its evidence is of; False when it could not be written."""
        return self._file.append(
            next(event for kind, event in EVENTS if isinstance(evidence, kind)),
            {
                "fault": fault,
                "kind": kind,
                "site": site,
                "n": n,
                "request": request,
                "states": list(states) or None,
                "evidence": evidence,
            },
        )
