"""Progress: a log of CI gets a line a phase and no more; a terminal gets one block that renews itself."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from history.phase_spec import PhaseSpec
from history.scenario import Scenario, ServerSettings, WorkloadSpec
from kvchaos.terminal import display
from kvchaos.terminal.display import CampaignPosition, Display, RunProgress
from loadtests.messages import Progress

HIDE_CURSOR, SHOW_CURSOR, ERASE_LINE = "\x1b[?25l", "\x1b[?25h", "\x1b[2K"
GOLDEN = PhaseSpec(name="golden", role="golden", workload="w", requests=30, concurrency=2)
LOAD = PhaseSpec(name="load", role="load", workload="w", requests=60, concurrency=4)
SMALL = Scenario(
    name="small",
    summary="Little.",
    server=ServerSettings(gpu_blocks=40),
    workloads={"w": WorkloadSpec(kind="unique")},
    phases=(GOLDEN, LOAD),
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(display, "time", made)
    return made


def progress(ok: int = 0, tokens: int = 0, failed: int = 0) -> Progress:
    return Progress(
        phase="load",
        sent=ok + failed + 4,
        ok=ok,
        failed=failed,
        aborted=0,
        in_flight=4,
        tokens=tokens,
        last_token_age_s=0.1,
    )


def plain() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=40), text


def terminal(width: int = 80) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    # Whatever the terminal is that runs the tests.
    kind = {"TERM": "xterm-256color"}
    return Console(file=text, force_terminal=True, width=width, color_system=None, _environ=kind), text


def dumb_terminal() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=True, width=80, _environ={"TERM": "dumb"}), text


def conduct(shown: Display, clock: Clock, fired: int | None = None) -> None:
    """A run of two phases, each with a hundred reports of progress."""
    shown.step("starting the server")
    for spec in (GOLDEN, LOAD):
        shown.phase_start(spec)
        for done in range(100):
            clock.now += 0.1
            shown.phase(progress(ok=done * spec.requests // 100), fired)
        shown.phase_end(progress(ok=spec.requests - 1, tokens=1000, failed=1), fired)
    shown.step("draining")


@pytest.mark.parametrize("made", [plain, dumb_terminal], ids=["pipe", "dumb terminal"])
def test_piped_output_has_one_line_per_step_and_phase(
    clock: Clock, made: Callable[[], tuple[Console, io.StringIO]]
) -> None:
    console, text = made()
    with Display(console, SMALL) as shown:
        conduct(shown, clock)
    assert text.getvalue().splitlines() == [
        "small: starting the server",
        "small: phase golden: 30 of 30 requests, 1 failed, 100 tokens/s",
        "small: phase load: 60 of 60 requests, 1 failed, 100 tokens/s",
        "small: draining",
    ]


def test_piped_output_names_the_run_of_a_campaign_in_each_line(clock: Clock) -> None:
    console, text = plain()
    with Display(console, SMALL, CampaignPosition(3, 28)) as shown:
        conduct(shown, clock)
    assert {line.partition(": ")[0] for line in text.getvalue().splitlines()} == {"3/28 small"}


@pytest.mark.parametrize(
    ("fired", "ending"), [(0, ", 0 faults fired"), (1, ", 1 fault fired"), (None, " tokens/s")]
)
def test_fired_faults_are_shown_as_zero_once_armed(clock: Clock, fired: int | None, ending: str) -> None:
    console, text = plain()
    with Display(console, SMALL) as shown:
        conduct(shown, clock, fired)
    assert text.getvalue().splitlines()[2].endswith(ending)


def test_displayed_rate_counts_from_the_phase_start(clock: Clock) -> None:
    console, text = plain()
    with Display(console, SMALL) as shown:
        shown.step("starting the server")
        clock.now += 100.0
        shown.phase_start(GOLDEN)
        clock.now += 2.0
        shown.phase_end(progress(tokens=50), None)
    assert text.getvalue().endswith(" 25 tokens/s\n")


def kept(text: str) -> list[str]:
    """What stands at the beginning of a line; the block begins with a spinner."""
    return re.findall(r"(?:^|[\r\n]|\x1b\[[?\d]*\w)small: ([\w ]+)", text)


def standing_in_mid_load(turn: CampaignPosition) -> RunProgress:
    """20 s after its start: golden took 3 s, and load has answered 20 of 60 requests in 4 s."""
    standing = RunProgress(SMALL, turn, began=1000.0)
    golden = display.PhaseStatus(1, GOLDEN, 1010.0, progress(ok=30), ended=1013.0)
    load = display.PhaseStatus(2, LOAD, 1016.0, progress(ok=20, tokens=800), fired=3)
    standing.phases = [golden, load]
    return standing


def test_live_block_shows_scenario_phase_rate_faults_and_time_left() -> None:
    standing = standing_in_mid_load(CampaignPosition(2, 28, later_s=840.0))
    assert standing.lines(1020.0) == [
        "scenario 2 of 28, small: phase load, 2 of 2",
        "20 of 60 requests, 0 failed, 200 tokens/s, 3 faults fired",
        "0:20 since its start, about 10 s left; 26 runs after it: about 14 min",
    ]


def test_no_time_estimate_before_the_first_answer() -> None:
    standing = RunProgress(SMALL, CampaignPosition(1, 2), began=1000.0, step="starting the server")
    assert standing.lines(1007.0) == [
        "scenario 1 of 2, small: starting the server",
        "0:07 since its start",
    ]


def test_time_left_includes_later_phases() -> None:
    standing = RunProgress(SMALL, CampaignPosition(), began=1000.0)
    standing.phases = [display.PhaseStatus(1, GOLDEN, 1010.0, progress(ok=15))]
    assert standing.left_s(1013.0) == pytest.approx(3.0 + 60 * 0.2)


def test_live_block_is_removed_at_the_end_and_phases_stay(clock: Clock) -> None:
    console, text = terminal()
    with Display(console, SMALL) as shown:
        conduct(shown, clock)
    assert kept(text.getvalue()) == ["phase golden", "phase load"]
    _, _, after_the_block = text.getvalue().rpartition("since its start")
    assert ERASE_LINE in after_the_block


def test_live_display_keeps_campaign_verdicts_visible(clock: Clock) -> None:
    console, text = terminal()
    with Display(console, SMALL, CampaignPosition(3, 28)) as shown:
        conduct(shown, clock)
    assert "60 of 60 requests, 1 failed, 100 tokens/s\n" not in text.getvalue()


def test_the_block_ends_with_the_run_also_when_that_fails() -> None:
    console, text = terminal()
    with pytest.raises(ZeroDivisionError), Display(console, SMALL):
        _ = 1 / 0
    assert HIDE_CURSOR in text.getvalue()
    assert text.getvalue().rindex(SHOW_CURSOR) > text.getvalue().rindex(HIDE_CURSOR)
