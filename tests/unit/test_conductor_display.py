"""A log of CI must tell what goes on in plain lines, and not be flooded."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from kvchaos.conductor import display
from kvchaos.conductor.display import PLAIN_EVERY_S, Display
from loadtests.messages import Progress

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


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


def test_without_a_terminal_each_step_and_phase_is_a_plain_line(clock: Clock) -> None:
    console, text = plain()
    with Display(console, "small") as shown:
        shown.step("starting the server")
        shown.step("phase load (load)")
        clock.now += 2.0
        shown.phase(progress(ok=5, tokens=100, failed=1), 60, None)
        clock.now += 2.0
        shown.phase_end(progress(ok=59, tokens=1000, failed=1), 60, None)
    assert text.getvalue().splitlines() == [
        "small: starting the server",
        "small: phase load (load)",
        "small: load: 6 of 60 done, 1 failed, 50 tokens/s",
        "small: load: 60 of 60 done, 1 failed, 250 tokens/s",
    ]


def test_firings_are_told_where_faults_are_armed_also_when_there_is_none_yet(clock: Clock) -> None:
    console, text = plain()
    with Display(console, "small") as shown:
        shown.step("chaos")
        clock.now += 1.0
        shown.phase(progress(ok=5, tokens=100), 60, 0)
        shown.phase_end(progress(ok=60, tokens=100), 60, 12)
    told = text.getvalue().splitlines()
    assert told[1].endswith("100 tokens/s, faults fired 0")
    assert told[2].endswith("100 tokens/s, faults fired 12")


def test_progress_is_a_line_every_few_seconds_only(clock: Clock) -> None:
    console, text = plain()
    with Display(console, "small") as shown:
        shown.step("phase load (load)")
        for _ in range(120):
            shown.phase(progress(), 60, None)
            clock.now += 0.125
    lines = [line for line in text.getvalue().splitlines() if "done" in line]
    assert len(lines) == 15.0 / PLAIN_EVERY_S


def test_the_first_progress_of_the_next_phase_does_not_wait_for_the_interval(clock: Clock) -> None:
    console, text = plain()
    with Display(console, "small") as shown:
        for step in ("one", "two"):
            shown.step(step)
            shown.phase(progress(), 60, None)
    assert len(text.getvalue().splitlines()) == 4


def test_the_rate_counts_from_the_beginning_of_the_phase(clock: Clock) -> None:
    console, text = plain()
    with Display(console, "small") as shown:
        shown.step("one")
        clock.now += 100.0
        shown.step("two")
        clock.now += 2.0
        shown.phase(progress(tokens=50), 60, None)
    assert text.getvalue().endswith(" 25 tokens/s\n")


def test_on_a_terminal_one_line_renews_itself_and_the_last_figures_stay() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=200, color_system=None)
    with Display(console, "small") as shown:
        shown.step("starting the server")
        for _ in range(50):
            shown.phase(progress(ok=5), 60, None)
        shown.phase_end(progress(ok=60), 60, None)
    kept = [line for line in text.getvalue().split("\n") if "60 of 60 done" in line]
    assert len(kept) == 1
    assert text.getvalue().count("\n") < 10


def test_the_line_on_the_terminal_ends_with_the_run_also_when_that_fails() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=200)
    with pytest.raises(ZeroDivisionError), Display(console, "small"):
        _ = 1 / 0
    assert HIDE_CURSOR in text.getvalue()
    assert text.getvalue().rindex(SHOW_CURSOR) > text.getvalue().rindex(HIDE_CURSOR)
