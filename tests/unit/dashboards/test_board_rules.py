"""Every board keeps to the rules of dashboards, and a board with one mistake breaks exactly its rule."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.prometheus.grafana_queries import DASHBOARDS, RUN_BOARD, read
from tests.support import board_rules
from tests.support.board_rules import RULES, Rule, data_panels

Edit = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_board_keeps_to_the_rule(path: Any, rule: Rule) -> None:
    assert list(rule(read(path))) == [], rule.__doc__


def panel(board: dict[str, Any], title: str) -> Any:
    (found,) = (each for each in data_panels(board) if each["title"] == title)
    return found


def set_panel(title: str, /, **values: object) -> Edit:
    return lambda board: panel(board, title).update(values)


def set_unit(title: str, unit: str | None) -> Edit:
    return lambda board: panel(board, title)["fieldConfig"]["defaults"].update(unit=unit)


def set_query(title: str, /, **values: object) -> Edit:
    return lambda board: panel(board, title)["targets"][0].update(values)


def edit_query(title: str, old: str, new: str) -> Edit:
    def edit(board: dict[str, Any]) -> None:
        target = panel(board, title)["targets"][0]
        assert old in target["expr"]
        target["expr"] = target["expr"].replace(old, new)

    return edit


def rename_source(board: dict[str, Any]) -> None:
    board["templating"]["list"][0]["name"] = "source"


def set_link(board: dict[str, Any], **values: object) -> None:
    board["links"][0].update(values)


def link_panel(title: str, url: str) -> Edit:
    links = [{"title": "Nights", "url": url}]
    return lambda board: panel(board, title)["fieldConfig"]["defaults"].update(links=links)


MISTAKES: list[tuple[Rule, Edit]] = [
    (board_rules.untitled, set_panel("Queue", title="Phase")),
    (board_rules.untitled, set_panel("Queue", title=" ")),
    (board_rules.undescribed, set_panel("Queue", description="")),
    (board_rules.without_unit, set_unit("Queue", None)),
    (board_rules.without_unit, set_unit("Queue", "requests")),
    (board_rules.wrong_unit, set_unit("TTFT", "ms")),
    (board_rules.wrong_unit, set_unit("KV cache in use", "percent")),
    (board_rules.wrong_unit, set_unit("Copies from and to the CPU tier", "bytes")),
    (board_rules.wrong_unit, set_unit("Memory of the server", "short")),
    (board_rules.unstated_window, edit_query("Preemptions", "$__rate_interval", "1m")),
    (board_rules.fixed_source, set_query("Queue", datasource={"type": "prometheus", "uid": "prometheus"})),
    (board_rules.fixed_source, rename_source),
    (board_rules.bare_counter, set_query("Preemptions", expr="sum(vllm:num_preemptions_total{})")),
    (board_rules.rate_of_a_gauge, edit_query("Preemptions", "num_preemptions_total", "num_requests_running")),
    (board_rules.quantile_without_le, edit_query("TTFT", "by (le)", "by (phase)")),
    (board_rules.quantile_without_le, edit_query("TTFT", " by (le)", "")),
    (board_rules.unknown_variable, edit_query("Queue", "$run", "$runs")),
    (board_rules.nameless_series, set_query("Queue", legendFormat="")),
    (board_rules.nameless_series, set_query("Prompt tokens by source", legendFormat="{{cause}}")),
    (board_rules.link_without_time, partial(set_link, keepTime=False)),
    (board_rules.link_without_time, partial(set_link, includeVars=False)),
    (board_rules.link_without_time, link_panel("Queue", "/d/kvchaos-nights?var-series=a")),
    (board_rules.unknown_link_value, link_panel("Queue", "${run_url}/report.html")),
    (board_rules.unknown_link_value, link_panel("Queue", "${runs_url}/${__data.fields.run}/report.html")),
]


@pytest.mark.parametrize(("rule", "edit"), MISTAKES)
def test_planted_mistake_breaks_exactly_its_rule(rule: Rule, edit: Edit) -> None:
    board = copy.deepcopy(read(RUN_BOARD))
    edit(board)
    assert [each for each in RULES if list(each(board))] == [rule]


def test_every_rule_has_a_planted_mistake() -> None:
    assert {rule for rule, _ in MISTAKES} == set(RULES)
