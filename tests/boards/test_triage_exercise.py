"""Links alone lead from three red nights to the cause, its evidence and the command, in three steps at most.

With one mistake in a link, the exercise fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kvchaos.stability.campaign_export import RUNS_URL
from tests.boards.board_data import OpenedData
from tests.boards.followed_links import LinkBroken, opened_board
from tests.boards.red_nights import RED_NIGHTS, RedNight, opened_night
from tests.boards.triage_exercise import MOST_STEPS, evidence_text, follow_links
from tests.prometheus.grafana_queries import CAMPAIGN_BOARD, DASHBOARDS, NIGHT_BOARD, RUN_BOARD, read

pytestmark = pytest.mark.prometheus

BOARDS = [read(path) for path in DASHBOARDS]
DIED = "server-alive/died: OverflowError in vllm.tokenizers.hf.decode"
CAUSES = {
    "crash": (DIED, "kvchaos run parameter-mix --server 0.23.0 --seed 1"),
    "hang": ("progress/deadlock: server", "kvchaos run lost-completion --server 0.32.0 --seed 11"),
    "wrong answers": (
        "answers/not-golden: request after bit_flip",
        "kvchaos run corruption-canary --server 0.32.0 --seed 11",
    ),
}
"""Signature and command by night."""
NightOpener = Callable[[str], tuple[RedNight, OpenedData]]


@pytest.fixture(scope="module")
def red_night(promtool: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NightOpener]:
    """Opens each night once."""
    found: dict[str, tuple[RedNight, OpenedData]] = {}
    with ExitStack() as stack:

        def open_once(name: str) -> tuple[RedNight, OpenedData]:
            if name not in found:
                folder = tmp_path_factory.mktemp("red-night")
                night = RED_NIGHTS[name](folder)
                found[name] = night, stack.enter_context(opened_night(night, promtool, folder))
            return found[name]

        yield open_once


@pytest.mark.parametrize("name", RED_NIGHTS)
def test_links_lead_from_the_night_to_cause_evidence_and_command(name: str, red_night: NightOpener) -> None:
    night, opened = red_night(name)
    signature, command = CAUSES[name]
    direct, by_run = follow_links(opened, BOARDS)
    assert [len(direct.steps), len(by_run.steps)] == [2, MOST_STEPS]
    for cause in (direct, by_run):
        assert (cause.signature, cause.command) == (signature, command)
        run = f"{RUNS_URL}/{night.campaign.name}/{night.red.name}/"
        assert cause.evidence.startswith(run)
        assert signature.partition(":")[0] in evidence_text(cause, night)


@pytest.mark.parametrize("name", RED_NIGHTS)
def test_links_carry_time_and_variables(name: str, red_night: NightOpener) -> None:
    night, opened = red_night(name)
    to_campaign, to_run, _ = follow_links(opened, BOARDS)[-1].steps
    campaign, run = (opened_board(step.url, BOARDS, opened.prometheus) for step in (to_campaign, to_run))
    assert campaign.shown.begin_s == opened.shown.begin_s
    assert campaign.shown.end_s == opened.shown.end_s
    assert campaign.variables["campaign"] == night.campaign.name
    assert campaign.variables["signature"] == CAUSES[name][0]
    (logged,) = (each for each in night.log.runs if each.run == night.red.name)
    assert run.shown.end_s - run.shown.begin_s == pytest.approx(logged.seconds)
    assert run.variables["run"] == night.red.name
    assert run.variables["runs_url"] == campaign.variables["runs_url"]


@dataclass(frozen=True)
class BrokenLink:
    """A mistake in the JSON of a board."""

    name: str
    board: Path
    old: str
    new: str


NIGHT_CELL, RUN_CELL = "${__data.fields.campaign:percentencode}", "${__data.fields.run}"
BROKEN = [
    BrokenLink("unknown-board", NIGHT_BOARD, "/d/kvchaos-campaign?", "/d/kvchaos-campaigns?"),
    BrokenLink("unknown-variable", NIGHT_BOARD, "&var-signature=", "&var-signatures="),
    BrokenLink("value-of-another-column", NIGHT_BOARD, NIGHT_CELL, "${__data.fields.build}"),
    BrokenLink("column-that-the-table-drops", NIGHT_BOARD, NIGHT_CELL, "${__data.fields.oracle}"),
    BrokenLink("time-dropped", NIGHT_BOARD, "&${__url_time_range}", ""),
    BrokenLink("end-of-the-query-in-the-middle", NIGHT_BOARD, "signature:percentencode}", "signature}#"),
    BrokenLink("label-that-no-series-has", NIGHT_BOARD, 'unexplained=\\"true\\"', 'unexplained=\\"yes\\"'),
    BrokenLink("link-removed", NIGHT_BOARD, '"id": "links"', '"id": "decimals"'),
    BrokenLink(
        "another-signature", CAMPAIGN_BOARD, 'signature=\\"$signature\\"', 'signature=\\"$campaign\\"'
    ),
    BrokenLink(
        "run-of-another-column", CAMPAIGN_BOARD, f"var-run={RUN_CELL}", "var-run=${__data.fields.oracle}"
    ),
    BrokenLink(
        "begin-and-end-swapped", CAMPAIGN_BOARD, "from=${__data.fields.began", "from=${__data.fields.ended"
    ),
    BrokenLink("report-of-another-name", CAMPAIGN_BOARD, "/report.html#", "/reports.html#"),
    BrokenLink("part-that-no-report-has", CAMPAIGN_BOARD, "#oracle-", "#rule-"),
    BrokenLink("command-dropped", CAMPAIGN_BOARD, '"command",', '"commands",'),
    BrokenLink("folder-of-the-runs-lost", CAMPAIGN_BOARD, "var-runs_url=", "var-url="),
    BrokenLink("report-outside-the-run", RUN_BOARD, "${runs_url}/${run}/report", "${runs_url}/report"),
    BrokenLink("command-of-another-seed", RUN_BOARD, "--seed {{seed}}", "--seed {{stack}}"),
]


def is_solved(night: RedNight, opened: OpenedData, broken: BrokenLink) -> bool:
    """Whether both paths lead to cause and command, with a mistake in a board."""
    text = broken.board.read_text(encoding="utf-8")
    assert broken.old in text
    edited = json.loads(text.replace(broken.old, broken.new))
    boards = [edited if board["uid"] == edited["uid"] else board for board in BOARDS]
    try:
        found = follow_links(opened, boards)
        texts = [evidence_text(cause, night) for cause in found]
    except LinkBroken:
        return False
    runs = {Path(urlsplit(cause.evidence).path).parts[-2] for cause in found}
    causes = {(cause.signature, cause.command) for cause in found}
    return len(texts) == 2 and runs == {night.red.name} and causes == {CAUSES["crash"]}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_exercise_fails_with_a_broken_link(broken: BrokenLink, red_night: NightOpener) -> None:
    night, opened = red_night("crash")
    assert not is_solved(night, opened, broken)


def test_exercise_is_solved_without_a_mistake(red_night: NightOpener) -> None:
    night, opened = red_night("crash")
    assert is_solved(night, opened, BrokenLink("none", NIGHT_BOARD, "Search for failures", "Search"))
