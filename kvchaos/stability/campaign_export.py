"""Campaigns as OpenMetrics: their runs one by one, and their signatures with the runs that are kept whole.

A run is one sample, at its own start. What is about a whole campaign is one at the start of the campaign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from history.verdict import Verdict
from kvchaos.openmetrics_text import GaugeFamily, TimedSample, label_text
from kvchaos.stability.campaign_records import SignatureCount
from kvchaos.stability.campaign_results import CampaignResults, JudgedRun
from kvchaos.stability.night_counts import positive_control, signature_lines
from kvchaos.stability.soak_export import oracle_of, seconds_of, signature_labels
from kvchaos.stability.stability_page import run_command

VERDICTS = {Verdict.PASS: 0, Verdict.UNKNOWN: 1, Verdict.FAIL: 2}
RUNS_URL = "http://127.0.0.1:8000"
"""Where `python3 -m http.server --bind 127.0.0.1` serves the folder of the campaigns."""


def campaign_families(
    campaigns: Sequence[CampaignResults], runs_url: str = RUNS_URL
) -> Iterator[GaugeFamily]:
    """All metrics of the campaigns. Without campaigns there are none.

    `runs_url`: where the folders of the campaigns are served, so that dashboards can link to reports.
    """
    if not campaigns:
        return
    yield from _signatures(campaigns, runs_url)
    runs = [(campaign.name, run) for campaign in campaigns for run in campaign.runs]
    yield GaugeFamily(
        "kvchaos_campaign_run_start_time_seconds",
        "Start of the run, seconds since the epoch.",
        [_run_sample(campaign, run, float(run.start_s)) for campaign, run in runs],
        "seconds",
    )
    yield GaugeFamily(
        "kvchaos_campaign_run_duration_seconds",
        "Duration of the run with its judging.",
        [_run_sample(campaign, run, run.logged.seconds) for campaign, run in runs],
        "seconds",
    )
    yield GaugeFamily(
        "kvchaos_campaign_oracle_verdict",
        "Verdict of the oracle on the run: 0 pass, 1 unknown, 2 fail.",
        [
            (
                label_text({"campaign": campaign, "run": run.logged.run, "oracle": oracle}),
                float(VERDICTS[verdict]),
                run.start_s,
            )
            for campaign, run in runs
            for oracle, verdict in run.verdicts.items()
        ],
    )


def _signatures(campaigns: Sequence[CampaignResults], runs_url: str) -> Iterator[GaugeFamily]:
    yield GaugeFamily(
        "kvchaos_campaign_start_time_seconds",
        "Start of the campaign, seconds since the epoch.",
        [_campaign_sample(each, runs_url) for each in campaigns],
        "seconds",
    )
    lines = [(campaign, line) for campaign in campaigns for line in _lines(campaign)]
    yield GaugeFamily(
        "kvchaos_campaign_signature_runs",
        "Runs of the campaign that have the signature.",
        [
            (
                label_text({"campaign": campaign.name, **signature_labels(line)}),
                float(line.count),
                seconds_of(campaign.night),
            )
            for campaign, line in lines
        ],
    )
    yield GaugeFamily(
        "kvchaos_campaign_run_signature",
        "Always 1. A run that has the signature and that the campaign keeps whole.",
        # A run comes twice if a known bug explains a part of its signature.
        list(dict.fromkeys(sample for campaign, line in lines for sample in _kept_runs(campaign, line))),
    )


def _lines(campaign: CampaignResults) -> list[SignatureCount]:
    runs = [run.logged for run in campaign.runs]
    return signature_lines(campaign.night, campaign.build, runs, campaign.server)


def _campaign_sample(campaign: CampaignResults, runs_url: str) -> TimedSample:
    start_s = seconds_of(campaign.night)
    labels = {
        "campaign": campaign.name,
        "build": campaign.build,
        "positive_control": positive_control([run.logged for run in campaign.runs]),
        "runs_url": f"{runs_url.rstrip('/')}/{quote(campaign.name)}",
    }
    return label_text(labels), float(start_s), start_s


def _kept_runs(campaign: CampaignResults, line: SignatureCount) -> Iterator[TimedSample]:
    """The first few runs of a signature: of others a campaign keeps the verdict, which is no evidence."""
    runs = {run.logged.run: run for run in campaign.runs}
    for _, _, name in line.examples:
        run = runs[name]
        labels = {
            "campaign": campaign.name,
            "run": name,
            "signature": line.signature,
            "oracle": oracle_of(line.signature),
            "scenario": run.logged.scenario,
            "seed": str(run.logged.seed),
            "command": run_command(run.logged, campaign.server),
        }
        yield label_text(labels), 1.0, run.start_s


def _run_sample(campaign: str, run: JudgedRun, value: float) -> TimedSample:
    labels = {
        "campaign": campaign,
        "run": run.logged.run,
        "scenario": run.logged.scenario,
        "seed": str(run.logged.seed),
        "category": run.logged.category,
        "outcome": run.logged.outcome,
        "signatures": ", ".join(each.signature for each in run.logged.signatures),
    }
    return label_text(labels), value, run.start_s
