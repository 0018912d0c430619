"""The stability history: a folder with a line for each night, and a line for each of its signatures.

A night counts once its own line is there, which is written last.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from history.jsonl import one_line
from kvchaos.errors import UsageError
from kvchaos.servers.installation import exclusive
from kvchaos.stability.campaign_records import SignatureCount, StabilityLine, StabilityNight

NIGHTS, SIGNATURES, LOCK = "stability.jsonl", "signatures.jsonl", ".stability.lock"
HistoryLine = TypeVar("HistoryLine", StabilityNight, SignatureCount)
_nights = msgspec.json.Decoder(StabilityNight)
_signatures = msgspec.json.Decoder(SignatureCount)


@dataclass(frozen=True, slots=True)
class StabilityHistory:
    """All nights, in order of time, with their signatures."""

    nights: Sequence[StabilityNight] = ()
    signatures: Sequence[SignatureCount] = ()


def read_stability(folder: Path) -> StabilityHistory:
    """The history in a folder; empty where there is none. Raises UsageError with file, line and problem."""
    nights = sorted(_read(folder / NIGHTS, _nights), key=lambda night: night.night)
    known = {night.night for night in nights}
    found = _read(folder / SIGNATURES, _signatures)
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


def _read(path: Path, decoder: msgspec.json.Decoder[HistoryLine]) -> list[HistoryLine]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    found = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            found.append(decoder.decode(line))
        except msgspec.MsgspecError as error:
            raise UsageError(f"{path}:{number}: {one_line(error)}") from error
    return found


def _append(path: Path, lines: Sequence[StabilityLine], night: str) -> None:
    """Replace what a killed writer left of this night, then append. Raises OSError."""
    kept = b""
    if path.exists():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
        kept = b"".join(line for line in whole if f'"{night}"'.encode() not in line)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(kept + msgspec.json.Encoder().encode_lines(lines))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
