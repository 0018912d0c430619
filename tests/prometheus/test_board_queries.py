"""Queries of the dashboards that Prometheus cannot parse: Grafana shows their panels as errors."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from tests.prometheus.grafana_queries import DASHBOARDS, TimeRange, filled, queries, read

HOUR = TimeRange(0, 3600)
BROKEN = (
    "sum(rate(up[1m])",
    "rate(up)",
    "up{run=r}",
    "sum by (run) up",
    "rate(up[1x])",
    "histogram_quantile(up)",
)
PARSE = "could not parse expression"


def parse_errors(promtool: Path, folder: Path, expressions: Iterable[str]) -> int:
    """How many of the expressions promtool refuses; it lists all errors of a file."""
    rules = [{"record": f"board:{number}:query", "expr": expr} for number, expr in enumerate(expressions)]
    path = folder / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
    found = (done.stdout + done.stderr).count(PARSE)
    assert bool(found) == bool(done.returncode), done.stdout + done.stderr
    return found


@pytest.mark.prometheus
@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda path: path.stem)
def test_promtool_parses_every_query_of_the_board(board: Path, promtool: Path, tmp_path: Path) -> None:
    given = read(board)
    variables = {each["name"]: "any" for each in given["templating"]["list"]}
    expressions = [filled(query.expr, variables, HOUR) for query in queries(given)]
    assert len(expressions) > 10
    assert parse_errors(promtool, tmp_path, expressions) == 0


@pytest.mark.prometheus
def test_promtool_refuses_each_broken_query(promtool: Path, tmp_path: Path) -> None:
    assert parse_errors(promtool, tmp_path, BROKEN) == len(BROKEN)
