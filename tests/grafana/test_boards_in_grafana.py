"""The provisioned dashboards in real Grafana, with real data: no error, variables, links.

`make test-grafana` runs them. They need images from a registry, so no other target does.
"""

from __future__ import annotations

import pytest

from tests.grafana.conftest import Grafana
from tests.grafana.grafana_data import SHOWN
from tests.grafana.grafana_visit import link_problems, panel_problems, variable_problems
from tests.prometheus.grafana_queries import DASHBOARDS, read

pytestmark = pytest.mark.compose


def test_every_board_of_the_repository_has_data() -> None:
    assert set(SHOWN) == {path.stem for path in DASHBOARDS}


def test_grafana_has_every_board_of_the_repository(grafana: Grafana) -> None:
    assert {read(path)["uid"] for path in DASHBOARDS} <= {board.uid for board in grafana.found}


@pytest.mark.parametrize("board", SHOWN)
def test_every_panel_is_drawn_without_an_error(grafana: Grafana, board: str) -> None:
    assert panel_problems(grafana.board(board)) == []


@pytest.mark.parametrize("board", SHOWN)
def test_every_variable_has_a_value_and_is_filled_into_the_queries(grafana: Grafana, board: str) -> None:
    assert variable_problems(grafana.board(board)) == []


@pytest.mark.parametrize("board", SHOWN)
def test_every_link_leads_to_a_board_that_exists(grafana: Grafana, board: str) -> None:
    assert link_problems(grafana.board(board), grafana.found) == []
