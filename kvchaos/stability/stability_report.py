"""The last night of the search for failures, with its runs and the signatures of all nights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from history import layout
from history.jsonl import open_plain
from history.verdict import RunVerdict
from kvchaos.errors import UsageError
from kvchaos.json_lines import read_json_lines
from kvchaos.stability.campaign_log import LOG, log_lines
from kvchaos.stability.campaign_records import CampaignRun, StabilityNight
from kvchaos.stability.issue_links import IssueLinks, read_issue_links
from kvchaos.stability.signature_states import State, TrackedSignature, track_signatures
from kvchaos.stability.stability_store import StabilityHistory, read_stability

ORDER: tuple[State, ...] = ("new", "back", "ongoing", "gone")
_verdict = msgspec.json.Decoder(RunVerdict)


@dataclass(frozen=True)
class StabilityReport:
    """What the page shows of a night."""

    night: StabilityNight
    tracked: Sequence[TrackedSignature]
    """In order of their states, those that nothing explains first, then the most frequent."""
    runs: Sequence[CampaignRun] = ()
    """Empty where the folder of the night is not here."""
    verdicts: Mapping[str, RunVerdict] = field(default_factory=dict)
    """By run directory."""
    links: IssueLinks = field(default_factory=IssueLinks)


def stability_report(folder: Path, runs: Path | None) -> StabilityReport | None:
    """The report of a history's last night; None where it has no such night.

    `runs`: the folder that has the folder of the night. Raises UsageError with file, line and problem.
    """
    history = read_stability(folder)
    if not history.nights:
        return None
    night = history.nights[-1]
    made = night_runs(runs / night.folder) if runs is not None and night.folder else []
    return StabilityReport(
        night=night,
        tracked=ordered_signatures(history),
        runs=made,
        verdicts=run_verdicts(runs / night.folder, made) if runs is not None else {},
        links=read_issue_links(folder),
    )


def ordered_signatures(history: StabilityHistory) -> list[TrackedSignature]:
    """The signatures of a history after its last night; within a state those that nothing explains first."""
    tracked = track_signatures(history.nights, history.signatures)
    return sorted(tracked, key=_rank)


def _rank(tracked: TrackedSignature) -> tuple[int, bool, int, str]:
    explained = not tracked.latest.unexplained
    return ORDER.index(tracked.state), explained, -tracked.tonight, tracked.signature


def night_runs(folder: Path) -> list[CampaignRun]:
    """The judged runs of a night; none where its log is not there. Raises UsageError."""
    return [line for line in read_json_lines(folder / LOG, log_lines) if isinstance(line, CampaignRun)]


def run_verdicts(folder: Path, runs: Sequence[CampaignRun]) -> dict[str, RunVerdict]:
    """The stored verdicts of these runs, by run directory. Raises UsageError."""
    found = {}
    for run in runs:
        path = folder / run.run / layout.VERDICT
        try:
            with open_plain(path) as file:
                found[run.run] = _verdict.decode(file.read())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: {error}; judge the run again") from error
    return found
