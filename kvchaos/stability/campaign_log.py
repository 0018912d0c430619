"""The log of one night: its header, then a line for each judged run. An interrupted night goes on from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from history.jsonl import one_line
from kvchaos.errors import UsageError
from kvchaos.stability.campaign_records import CampaignRun, NightDate, StabilityLine

LOG = "campaign.jsonl"
LineT = TypeVar("LineT", bound=StabilityLine)


class CampaignHeader(StabilityLine, frozen=True, kw_only=True, tag="header", tag_field="line"):
    """What makes a night; a resumed night must have the same."""

    v: int = 1
    night: NightDate
    server: str
    """Name of its environment."""
    build: str
    stack: str
    budget_s: float


_headers = msgspec.json.Decoder(CampaignHeader)
_runs = msgspec.json.Decoder(CampaignRun)


@dataclass(frozen=True, slots=True)
class CampaignLog:
    """A night so far."""

    folder: Path
    header: CampaignHeader
    runs: list[CampaignRun]

    @property
    def used_s(self) -> float:
        """Duration of its judged runs."""
        return sum(run.seconds for run in self.runs)

    @property
    def next_number(self) -> int:
        """Number of the next run. A run that a kill cut has no line, so its number is used again."""
        return len(self.runs)

    def add(self, run: CampaignRun) -> None:
        """Append a run; it is on the disk when this returns. Raises UsageError."""
        if run.number != self.next_number:
            raise ValueError(f"run {run.number} follows run {self.next_number - 1}")
        _append(self.folder / LOG, run)
        self.runs.append(run)


def start_log(folder: Path, header: CampaignHeader) -> CampaignLog:
    """Begin the log of a night in its folder. Raises UsageError."""
    _append(folder / LOG, header)
    return CampaignLog(folder, header, [])


def read_log(folder: Path) -> CampaignLog:
    """The log of a night, without an incomplete last line. Raises UsageError with file, line and problem."""
    path = folder / LOG
    try:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; give the folder of a night") from error
    lines = whole.splitlines()
    if not lines:
        raise UsageError(f"{path}: is empty; start a new night")
    header = _decoded(_headers, lines[0], f"{path}:1")
    runs = [_decoded(_runs, line, f"{path}:{number}") for number, line in enumerate(lines[1:], start=2)]
    for number, run in enumerate(runs):
        if run.number != number:
            raise UsageError(f"{path}:{number + 2}: run {run.number} where run {number} is due")
    return CampaignLog(folder, header, runs)


def _decoded(decoder: msgspec.json.Decoder[LineT], line: bytes, location: str) -> LineT:
    try:
        return decoder.decode(line)
    except msgspec.MsgspecError as error:
        raise UsageError(f"{location}: {one_line(error)}") from error


def _append(path: Path, line: StabilityLine) -> None:
    try:
        with path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
