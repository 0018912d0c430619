"""The stability history: a folder with a line for each night, and a line for each of its signatures.

A night counts once its own line is there, which is written last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kvchaos.errors import UsageError
from kvchaos.json_lines import append_json_lines, read_json_lines, whole_lines
from kvchaos.servers.installation import exclusive
from kvchaos.stability.campaign_records import SignatureCount, StabilityLine, StabilityNight

NIGHTS, SIGNATURES, LOCK = "stability.jsonl", "signatures.jsonl", ".stability.lock"
_nights = msgspec.json.Decoder(StabilityNight)
_signatures = msgspec.json.Decoder(SignatureCount)


@dataclass(frozen=True, slots=True)
class StabilityHistory:
    """All nights, in order of time, with their signatures."""

    nights: Sequence[StabilityNight] = ()
    signatures: Sequence[SignatureCount] = ()


def read_stability(folder: Path) -> StabilityHistory:
    """The history in a folder; empty where there is none. Raises UsageError with file, line and problem."""
    nights = sorted(read_json_lines(folder / NIGHTS, _nights), key=lambda night: night.night)
    known = {night.night for night in nights}
    found = read_json_lines(folder / SIGNATURES, _signatures)
    return StabilityHistory(nights, [line for line in found if line.night in known])


def append_stability(folder: Path, night: StabilityNight, signatures: Sequence[SignatureCount]) -> None:
    """Append one night, whole or not at all. Raises UsageError; the same night twice is one, too."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / LOCK, lambda: None):
            if any(each.night == night.night for each in read_stability(folder).nights):
                raise UsageError(f"{folder / NIGHTS}: the night {night.night} is there already")
            _append(folder / SIGNATURES, signatures, night.night)
            _append(folder / NIGHTS, [night], night.night)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error


def _append(path: Path, lines: Sequence[StabilityLine], night: str) -> None:
    """Append, in the place of what a killed writer left of this night. Raises OSError, UsageError."""
    mark = f'"night":"{night}"'.encode()
    kept = b"".join(line for line in whole_lines(path).splitlines(keepends=True) if mark not in line)
    part = path.with_suffix(".part")
    part.write_bytes(kept)
    append_json_lines(part, lines)
    part.replace(path)
