"""Every board drawn by Grafana's code from data that it should show: no error, no empty panel, units."""

from __future__ import annotations

import pytest

from tests.boards.board_data import BOARDS, BoardData
from tests.boards.board_page import BoardPage
from tests.boards.conftest import Requester
from tests.boards.panel_checks import problems
from tests.prometheus.grafana_queries import DASHBOARDS

pytestmark = [pytest.mark.prometheus, pytest.mark.chromium]

CASES = [
    pytest.param(board, data, id=f"{board}-{data.name}") for board, each in BOARDS.items() for data in each
]
CONDITIONS = "Conditions of the alerts"


def test_every_board_has_data_and_every_entry_a_board() -> None:
    assert set(BOARDS) == {path.stem for path in DASHBOARDS}, "see BOARDS in tests/boards/board_data.py"


@pytest.mark.parametrize(("board", "data"), CASES)
def test_every_panel_is_drawn_without_a_problem(
    board: str, data: BoardData, page: BoardPage, requested: Requester
) -> None:
    request = requested(board, data.name)
    drawn = page.draw(request)
    found = problems(request, drawn)
    missing = {problem.panel for problem in found if problem.kind == "no data"}
    assert [
        problem for problem in found if problem.kind != "no data" or problem.panel not in data.empty
    ] == []
    assert missing == set(data.empty)
    assert page.complaints == []


@pytest.mark.parametrize(
    ("data", "alerts"),
    [
        ("killed", {"ServerDown", "ServerRestarted", "RequestsFail"}),
        ("faults", set()),
        ("died", {"RequestsFail"}),
        ("hang", {"Deadlock"}),
        ("corruption", set()),
        ("gpus", set()),
    ],
)
def test_run_board_shows_the_conditions_that_a_real_run_met(
    data: str, alerts: set[str], page: BoardPage, requested: Requester
) -> None:
    (panel,) = (each for each in page.draw(requested("run", data)) if each.title == CONDITIONS)
    assert {series.name for series in panel.series if "fires" in series.states} == alerts


def test_requests_of_the_run_have_the_colours_of_their_outcomes(
    page: BoardPage, requested: Requester
) -> None:
    (panel,) = (each for each in page.draw(requested("run", "killed")) if each.title == "Requests")
    figures = {figure.name: (figure.number, figure.colour.upper()) for figure in panel.figures}
    assert figures == {"ok": (150, "#73BF69"), "failed": (6, "#E02F44"), "aborted": (0, "#8E8E8E")}


def test_light_board_differs_from_the_dark_one_in_colour_alone(page: BoardPage, requested: Requester) -> None:
    request = requested("nights", "synthetic")
    dark, light = page.draw(request, "dark"), page.draw(request, "light")
    assert [panel.legend for panel in dark] == [panel.legend for panel in light]
    assert [[axis.texts for axis in panel.axes] for panel in dark] == [
        [axis.texts for axis in panel.axes] for panel in light
    ]
