"""Red nights for the triage exercise: a crash, a hang and wrong answers among passing runs and known bugs.

The crash is that of a real night. The others are made of stored runs whose plan expects the failure: judged
without this expectation, nothing explains it. Each night is exported and made into blocks as a real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random

import msgspec

from history import layout
from history.expected_findings import Expectation
from history.plan import RunPlan
from history.reader import History, read_history
from history.verdict import Cause, RunVerdict
from kvchaos.cli.app import run as command_line
from kvchaos.judging.judge_run import judge, judge_run_dir
from kvchaos.prometheus.recorded_series import openmetrics_lines
from kvchaos.stability.campaign_log import CampaignHeader, CampaignLog, read_log, start_log
from kvchaos.stability.campaign_records import Category
from kvchaos.stability.night_counts import campaign_run, night_line, signature_lines
from kvchaos.stability.run_mix import NextRun, RunChoice
from kvchaos.stability.soak_export import seconds_of
from kvchaos.stability.stability_store import append_stability
from tests.boards.board_data import ARCHIVES, MORNING_S, NS_PER_S, OpenedData, opened_blocks
from tests.prometheus.grafana_queries import TimeRange
from tests.support.source_tree import ROOT
from tests.support.stored import DATA, SUFFIX, unpack

RECORDED = "night-1130-214312"
"""All runs of vLLM 0.23.0 that the release matrix made on one evening, when kvchaos did not yet list
vllm#50792 for them. Of all but the one with the crash only the verdict is stored."""
POSITIVE_CONTROL = ROOT / "examples" / "corruption-canary"
KNOWN = Cause(
    rule="accounting/abandoned-requests",
    signature="accounting/abandoned-requests: vllm:request_success_total",
    violations=1,
    known_bugs=["vllm-31503"],
)
RUN_S = 40.0
END = "# EOF\n"


@dataclass(frozen=True)
class RedNight:
    """The folder of a night, in a folder of its own, and its run that is not as expected."""

    campaign: Path
    red: Path

    @property
    def log(self) -> CampaignLog:
        """All runs of the night."""
        return read_log(self.campaign)


def recorded_night(folder: Path) -> RedNight:
    """The real night with the crash."""
    campaign = unpack(ARCHIVES / f"{RECORDED}{SUFFIX}", folder)
    (plan,) = campaign.glob(f"*/{layout.PLAN}")
    judge_run_dir(plan.parent)
    return RedNight(campaign, plan.parent)


def made_night(archive: str, folder: Path) -> RedNight:
    """A night of a stored run, a known bug, the positive control and passing runs, in an order by chance."""
    stored = unpack(DATA / f"{archive}{SUFFIX}", folder / "scratch")
    history = read_history(stored)
    plan = history.plan
    begin = datetime.fromisoformat(plan.created) - timedelta(minutes=2)
    campaign = folder / f"soak-{begin:%m%d-%H%M%S}"
    campaign.mkdir()
    red = stored.rename(campaign / plan.run_id)
    failing = judge_run_dir(red, _without_expectation)
    passing = judge(read_history(unpack(DATA / f"green{SUFFIX}", folder / "scratch")))
    known = msgspec.structs.replace(passing, causes=[KNOWN])
    others = [failing, known, passing, passing, passing]
    Random(archive).shuffle(others)
    log = _started_log(campaign, plan, begin)
    _add(log, begin, "positive control", _stored_verdict(POSITIVE_CONTROL))
    for verdict in others:
        _add(log, begin, "new", verdict, _seconds(history) if verdict is failing else RUN_S)
    return RedNight(campaign, red)


RED_NIGHTS: Mapping[str, Callable[[Path], RedNight]] = {
    "crash": recorded_night,
    "hang": partial(made_night, "hang"),
    "wrong answers": partial(made_night, "wrong-answers"),
}
"""By what went wrong."""


@contextmanager
def opened_night(night: RedNight, promtool: Path, folder: Path) -> Iterator[OpenedData]:
    """The Prometheus of the exported night, opened on the morning after it. It also has the run's series."""
    text = _exported(night, folder / "nights").removesuffix(END)
    start_s = seconds_of(night.log.header.night)
    with opened_blocks(
        text + "".join(openmetrics_lines(read_history(night.red))), promtool, folder
    ) as opened:
        yield OpenedData(opened, TimeRange(start_s - MORNING_S, start_s + MORNING_S))


def _exported(night: RedNight, history: Path) -> str:
    """The history with this night, exported by the command."""
    log, header = night.log, night.log.header
    counts = night_line(
        header.night, header.build, log.runs, log.used_s, complete=True, folder=log.folder.name
    )
    append_stability(history, counts, signature_lines(header.night, header.build, log.runs))
    options = ["--history", str(history), "--campaign", str(night.campaign)]
    assert command_line(["nightly", "export", "openmetrics", *options]) == 0
    return (history / "history.om").read_text(encoding="utf-8")


def _without_expectation(plan: RunPlan) -> RunPlan:
    expectation = Expectation(releases=plan.expectation.releases)
    return plan.model_copy(update={"expectation": expectation})


def _started_log(campaign: Path, plan: RunPlan, begin: datetime) -> CampaignLog:
    versions = plan.versions
    header = CampaignHeader(
        night=f"{begin:%Y-%m-%dT%H:%M:%SZ}",
        server=versions.server_name,
        build=versions.vllm,
        stack=plan.stack,
        budget_s=600.0,
    )
    return start_log(campaign, header)


def _add(
    log: CampaignLog, begin: datetime, category: Category, verdict: RunVerdict, seconds: float = RUN_S
) -> None:
    """Log a run. One without a directory in the night gets a name of its own, and a directory."""
    number = log.next_number
    if not (log.folder / verdict.run_id).exists():
        moment = begin + timedelta(seconds=RUN_S * number)
        name = f"{verdict.scenario}-{moment:%m%d-%H%M%S}-{number:04x}"
        verdict = msgspec.structs.replace(verdict, run_id=name)
        (log.folder / name).mkdir()
        (log.folder / name / layout.VERDICT).write_bytes(msgspec.json.encode(verdict))
    planned = NextRun(number, category, RunChoice(verdict.scenario, verdict.seed))
    log.add(campaign_run(planned, verdict, seconds, None))


def _seconds(history: History) -> float:
    return (history.events[-1].t_ns - history.events[0].t_ns) / NS_PER_S


def _stored_verdict(run_dir: Path) -> RunVerdict:
    return msgspec.json.decode((run_dir / layout.VERDICT).read_bytes(), type=RunVerdict)
