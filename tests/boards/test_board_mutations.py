"""A mistake in a board is found in what Grafana's code draws of it, and named by its kind."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.boards.board_data import data_of
from tests.boards.board_page import BoardPage
from tests.boards.conftest import Opener, answered
from tests.boards.panel_checks import problems
from tests.prometheus.grafana_queries import FOLDER, panels, read

pytestmark = [pytest.mark.prometheus, pytest.mark.chromium]

Edit = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Mutation:
    """A mistake in one panel of a board, and the kind of the problem that shows it."""

    name: str
    board: str
    panel: str
    edit: Edit
    kind: str


def replaced(old: str, new: str) -> Edit:
    """In the first query of the panel."""

    def edit(panel: dict[str, Any]) -> None:
        assert old in panel["targets"][0]["expr"]
        panel["targets"][0]["expr"] = panel["targets"][0]["expr"].replace(old, new)

    return edit


def defaults(**options: object) -> Edit:
    return lambda panel: panel["fieldConfig"]["defaults"].update(options)


def custom(**options: object) -> Edit:
    return lambda panel: panel["fieldConfig"]["defaults"]["custom"].update(options)


def query(**values: object) -> Edit:
    return lambda panel: panel["targets"][0].update(values)


def swapped_legends(panel: dict[str, Any]) -> None:
    first, second = panel["targets"][:2]
    first["legendFormat"], second["legendFormat"] = second["legendFormat"], first["legendFormat"]


def same_legends(panel: dict[str, Any]) -> None:
    panel["targets"][1]["legendFormat"] = panel["targets"][0]["legendFormat"]


def override_option(key: str, value: object) -> Edit:
    return lambda panel: panel["fieldConfig"]["overrides"][0]["matcher"].update({key: value})


def fill_to(name: str) -> Edit:
    def edit(panel: dict[str, Any]) -> None:
        for override in panel["fieldConfig"]["overrides"]:
            for each in override["properties"]:
                if each["id"] == "custom.fillBelowTo":
                    each["value"] = name

    return edit


def mapping(old: str, new: str) -> Edit:
    def edit(panel: dict[str, Any]) -> None:
        texts = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
        texts[new] = texts.pop(old)

    return edit


def removed(*path: str) -> Edit:
    def edit(panel: dict[str, Any]) -> None:
        inner: Any = panel
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]

    return edit


EMPTY = {"mode": "absolute", "steps": []}
UNORDERED = {
    "mode": "absolute",
    "steps": [{"color": "green", "value": None}, {"color": "red", "value": None}],
}
MUTATIONS = [
    Mutation("metric-that-is-not-exported", "run", "Queue", replaced("running", "runing"), "no data"),
    Mutation("metric-of-another-quantity", "run", "Queue", replaced("running", "waiting"), "legend term"),
    Mutation(
        "metric-in-other-units", "run", "KV cache in use", replaced("cache_usage", "requests"), "no data"
    ),
    Mutation("seconds-as-bytes", "run", "TTFT", defaults(unit="bytes"), "unit"),
    Mutation("share-as-percent", "run", "KV cache in use", defaults(unit="percent"), "unit"),
    Mutation("rate-as-count", "run", "Requests ended", defaults(unit="short"), "unit"),
    Mutation("bytes-as-rate", "run", "Memory of the server", defaults(unit="Bps"), "unit"),
    Mutation("no-unit", "run", "TTFT", removed("fieldConfig", "defaults", "unit"), "unit"),
    Mutation("label-value-that-no-series-has", "run", "Queue", replaced('"server"', '"servers"'), "no data"),
    Mutation("label-of-the-legend-dropped", "run", "Firings", query(legendFormat="{{cause}}"), "legend"),
    Mutation("no-legend", "run", "Queue", query(legendFormat=""), "legend"),
    Mutation("swapped-legends", "run", "Queue", swapped_legends, "legend term"),
    Mutation("swapped-percentiles", "run", "TTFT", swapped_legends, "legend term"),
    Mutation("two-series-of-one-name", "run", "Queue", same_legends, "legend"),
    Mutation(
        "hidden-legend",
        "run",
        "Queue",
        lambda panel: panel["options"]["legend"].update(showLegend=False),
        "legend",
    ),
    Mutation("threshold-without-steps", "run", "Requests", defaults(thresholds=EMPTY), "threshold"),
    Mutation("threshold-without-a-value", "run", "Requests", defaults(thresholds=UNORDERED), "threshold"),
    Mutation(
        "default-threshold-of-80", "run", "Requests", removed("fieldConfig", "defaults", "color"), "threshold"
    ),
    Mutation("unknown-variable", "run", "Queue", replaced("$run", "$runs"), "variable"),
    Mutation("query-that-does-not-parse", "run", "Queue", replaced("sum(", "sum(("), "error"),
    Mutation("values-below-the-axis", "run", "Memory of the server", defaults(min=1e12), "visibility"),
    Mutation("values-above-the-axis", "run", "Queue", defaults(max=0.5), "visibility"),
    Mutation("lines-without-width", "run", "Queue", custom(lineWidth=0, fillOpacity=0), "visibility"),
    Mutation(
        "one-sample-without-points",
        "run",
        "Probes",
        lambda panel: [target.update(instant=True, range=False) for target in panel["targets"]],
        "visibility",
    ),
    Mutation("override-of-no-query", "run", "Queue", override_option("options", "Z"), "override"),
    Mutation("override-of-no-series", "run", "Requests", override_option("options", "okay"), "override"),
    Mutation("band-to-no-series", "nights", "Slowdown of the series", fill_to("lower"), "override"),
    Mutation("state-without-a-text", "run", "Server", mapping("1", "2"), "state"),
    Mutation("unknown-kind-of-panel", "run", "Queue", lambda panel: panel.update(type="graph"), "error"),
]


def board_with(name: str, panel: str, edit: Edit) -> dict[str, Any]:
    """A board with one panel, which was edited."""
    board = copy.deepcopy(read(FOLDER / f"{name}.json"))
    (found,) = (each for each in panels(board) if each["title"] == panel)
    edit(found)
    board["panels"] = [found]
    return board


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mistake_in_a_panel_is_found(mutation: Mutation, page: BoardPage, opened: Opener) -> None:
    data = data_of(mutation.board)[0]
    board = board_with(mutation.board, mutation.panel, mutation.edit)
    request = answered(board, data, opened(data))
    assert mutation.kind in {problem.kind for problem in problems(request, page.draw(request))}


@pytest.mark.parametrize(
    ("name", "panel"), sorted({(mutation.board, mutation.panel) for mutation in MUTATIONS})
)
def test_panel_without_a_mistake_has_no_problem(
    name: str, panel: str, page: BoardPage, opened: Opener
) -> None:
    data = data_of(name)[0]
    request = answered(board_with(name, panel, lambda _: None), data, opened(data))
    assert problems(request, page.draw(request)) == []


def test_variable_without_values_is_found(page: BoardPage, opened: Opener) -> None:
    board = json.loads(
        json.dumps(read(FOLDER / "run.json")).replace("kvchaos_run_info, run", "kvchaos_runs, run")
    )
    (data, *_) = data_of("run")
    request = answered(board, data, opened(data))
    found = problems(request, page.draw(request))
    assert found[0].kind == "variable"
    assert {problem.panel for problem in found if problem.kind == "no data"} >= {
        "Queue",
        "TTFT",
        "Requests ended",
    }
