"""campaign.json: the search for failures of a night as data, for programs. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from kvchaos.stability.campaign_records import CampaignRun, StabilityNight
from kvchaos.stability.signature_states import State
from kvchaos.stability.stability_report import StabilityReport
from kvchaos.stability.stability_summary import repeat_command
from kvchaos.triage.failure_repeats import RepeatResult


class CampaignSignature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One signature after the night."""

    signature: str
    state: State
    tonight: int
    """Runs of this night that have it."""
    total: int
    """Runs of all nights."""
    first_night: str
    last_night: str
    unexplained: bool
    bugs: list[str]
    """Ids of the known bugs that it may be."""
    repeats: RepeatResult | None
    """What its repeats on the last night that shows it say."""
    issue: str | None
    command: str
    """It repeats the first example."""


class CampaignFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of campaign.json."""

    v: Literal[1] = 1
    night: StabilityNight
    signatures: list[CampaignSignature]
    """In the order of the page."""
    runs: list[CampaignRun]


def campaign_json(report: StabilityReport) -> bytes:
    """The file, indented for people."""
    content = CampaignFile(
        night=report.night,
        signatures=[
            CampaignSignature(
                signature=each.signature,
                state=each.state,
                tonight=each.tonight,
                total=each.total,
                first_night=each.first_night,
                last_night=each.last_night,
                unexplained=each.latest.unexplained,
                bugs=each.latest.bugs,
                repeats=each.latest.repeats,
                issue=report.links.issue(each.signature),
                command=repeat_command(each),
            )
            for each in report.tracked
        ],
        runs=list(report.runs),
    )
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
