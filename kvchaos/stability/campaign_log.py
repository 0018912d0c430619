"""The log of one night: its header, then a line for each judged run. An interrupted night goes on from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from kvchaos.errors import UsageError
from kvchaos.json_lines import append_json_lines, cut_incomplete_line, read_json_lines
from kvchaos.stability.campaign_records import CampaignRun, NightDate, StabilityLine

LOG = "campaign.jsonl"


class CampaignHeader(StabilityLine, frozen=True, kw_only=True, tag_field="line", tag="header"):
    """What makes a night; a resumed night must have the same."""

    v: int = 1
    night: NightDate
    server: str
    """Name of its environment."""
    build: str
    stack: str
    budget_s: float
    one_server: bool = False
    """The server is kept from run to run."""


log_lines: msgspec.json.Decoder[CampaignHeader | CampaignRun] = msgspec.json.Decoder(
    CampaignHeader | CampaignRun
)


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
    """The log of a night, without an incomplete last line. Raises UsageError with file, line and problem.

    It writes nothing: the night may still run.
    """
    path = folder / LOG
    if not path.is_file():
        raise UsageError(f"{path}: is not there; give the folder of a night")
    lines = read_json_lines(path, log_lines)
    header = lines[0] if lines else None
    if not isinstance(header, CampaignHeader):
        raise UsageError(f"{path}: has no header; start a new night")
    runs = []
    for number, run in enumerate(lines[1:]):
        if not isinstance(run, CampaignRun) or run.number != number:
            raise UsageError(f"{path}:{number + 2}: is not run {number}")
        runs.append(run)
    return CampaignLog(folder, header, runs)


def resume_log(folder: Path) -> CampaignLog:
    """The log of a night that goes on; what a kill has cut is removed. Raises UsageError."""
    log = read_log(folder)
    cut_incomplete_line(folder / LOG)
    return log


def _append(path: Path, line: StabilityLine) -> None:
    try:
        append_json_lines(path, [line])
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
