"""Draws a dashboard as an HTML page, as it would look in Grafana, from the stored Prometheus data of a run.

python -m tests.prometheus.dashboard_picture RUN_DIR OUT.html [dashboards/run.json]
"""

from __future__ import annotations

import html
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_api_client import PrometheusConnect

from history.events import PhaseEnd, ServerReady
from history.reader import read_history
from tests.prometheus.grafana_queries import RUN_BOARD, Answer, Query, TimeRange, panels, read, run_query
from tests.prometheus.stored_prometheus import reopened

NS_PER_S = 1e9
COLUMN, ROW = 60, 30
"""Pixels of Grafana's grid."""
WIDTH, HEIGHT = 1000, 100
SHADE = "#FF9830"
UNITS = {"s": " s", "reqps": " requests/s", "percentunit": "", "Bps": " B/s", "bytes": " B"}
COLOURS = ("#73BF69", "#F2CC0C", "#5794F2", "#FF780A", "#E02F44", "#B877D9", "#8AB8FF", "#96D98D")
STYLE = """
body {background: #111217; color: #ccccdc; font: 12px sans-serif}
main {position: relative} section {position: absolute; background: #181b1f; border: 1px solid #2c3235;
box-sizing: border-box; padding: 4px 8px; overflow: hidden} h2 {font-size: 12px; margin: 0 0 4px}
svg {width: 100%; height: 55%} .big {font-size: 20px} p {margin: 2px 0; white-space: nowrap}
.name {display: inline-block; width: 14%}
"""


def page(board: Mapping[str, Any], prometheus: PrometheusConnect, run_id: str, shown: TimeRange) -> str:
    """The whole dashboard as HTML."""
    variables = {"run": run_id}
    (faults,) = (one for one in board["annotations"]["list"] if one["name"] == "Faults")
    shades = run_query(prometheus, Query("", faults["expr"], faults["titleFormat"]), variables, shown)
    drawn = []
    for panel in panels(board):
        answers = [
            (_colour(panel, target["refId"]), answer)
            for target in panel["targets"]
            for answer in run_query(
                prometheus, Query("", target["expr"], target["legendFormat"]), variables, shown
            )
        ]
        drawn.append(_panel(panel, answers, shades, shown))
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><main>{''.join(drawn)}</main>"


def _panel(
    panel: Mapping[str, Any],
    answers: Sequence[tuple[str | None, Answer]],
    shades: Sequence[Answer],
    shown: TimeRange,
) -> str:
    grid = panel["gridPos"]
    position = (
        f"left:{grid['x'] * COLUMN}px;top:{grid['y'] * ROW}px;"
        f"width:{grid['w'] * COLUMN}px;height:{grid['h'] * ROW}px"
    )
    parts = {"timeseries": _graph, "stat": _figure, "state-timeline": _timeline}
    body = "".join(parts[panel["type"]](panel, answers, shades, shown)) if answers else "<p class=big>No data"
    return f"<section style='{position}'><h2>{html.escape(panel['title'])}</h2>{body}</section>"


def _graph(
    panel: Mapping[str, Any],
    answers: Sequence[tuple[str | None, Answer]],
    shades: Sequence[Answer],
    shown: TimeRange,
) -> Iterator[str]:
    values = [value for _, answer in answers for _, value in answer.points]
    low, high = min(0.0, *values), max(values)
    span = (high - low) or 1.0
    yield f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' preserveAspectRatio=none>"
    for shade in shades:
        for t_s, value in shade.points:
            if value > 0:
                yield f"<rect x={_x(t_s, shown):.1f} width={WIDTH / (shown.end_s - shown.begin_s):.1f} "
                yield f"height={HEIGHT} fill='{SHADE}' opacity=.15 />"
    for index, (colour, answer) in enumerate(answers):
        line = " ".join(
            f"{_x(t_s, shown):.1f},{(1 - (value - low) / span) * HEIGHT:.1f}" for t_s, value in answer.points
        )
        yield f"<polyline points='{line}' fill=none stroke='{colour or COLOURS[index % len(COLOURS)]}' "
        yield "stroke-width=2 vector-effect=non-scaling-stroke />"
    unit = UNITS.get(panel["fieldConfig"]["defaults"].get("unit", ""), "")
    seconds = shown.end_s - shown.begin_s
    yield f"</svg><p>vertical: {low:.3g} to {high:.3g}{unit}, horizontal: 0 to {seconds:.0f} s<p>"
    for index, (colour, answer) in enumerate(answers):
        yield f"<span style='color:{colour or COLOURS[index % len(COLOURS)]}'>&#9644; "
        yield f"{html.escape(answer.name)}</span> "
    if shades:
        yield f"<span style='color:{SHADE}'>&#9632; a fault is armed</span>"


def _figure(
    panel: Mapping[str, Any],
    answers: Sequence[tuple[str | None, Answer]],
    shades: Sequence[Answer],
    shown: TimeRange,
) -> Iterator[str]:
    """The last values, or with `instant` targets those at the end of the time shown."""
    at_the_end = any(target.get("instant") for target in panel["targets"])
    names_only = panel["options"]["textMode"] == "name"
    mappings = panel["fieldConfig"]["defaults"].get("mappings", ())
    texts = {key: each["text"] for mapping in mappings for key, each in mapping["options"].items()}
    for _, answer in answers:
        t_s, value = answer.points[-1]
        if at_the_end and t_s < shown.end_s - 1:
            continue
        number = "" if names_only else texts.get(f"{value:g}", f"{value:g}")
        yield f"<p class=big>{html.escape(answer.name)} {number}"


def _began(answer: Answer) -> float:
    return min((t_s for t_s, value in answer.points if value), default=0.0)


def _timeline(
    panel: Mapping[str, Any],
    answers: Sequence[tuple[str | None, Answer]],
    shades: Sequence[Answer],
    shown: TimeRange,
) -> Iterator[str]:
    """A row for each series, in the order of their first values."""
    for _, answer in sorted(answers, key=lambda pair: _began(pair[1])):
        yield f"<p><span class=name>{html.escape(answer.name)}</span>"
        yield f"<svg viewBox='0 0 {WIDTH} 10' preserveAspectRatio=none style='height:12px; width:85%'>"
        for t_s, value in answer.points:
            if value:
                width = WIDTH / (shown.end_s - shown.begin_s) + 0.5
                yield f"<rect x={_x(t_s, shown):.1f} width={width:.1f} height=10 fill='{SHADE}' />"
        yield "</svg>"


def _x(t_s: float, shown: TimeRange) -> float:
    return (t_s - shown.begin_s) / (shown.end_s - shown.begin_s) * WIDTH


def _colour(panel: Mapping[str, Any], ref: str) -> str | None:
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] == ref:
            return str(override["properties"][0]["value"]["fixedColor"])
    return None


def main() -> None:
    run_dir, out, *boards = map(Path, sys.argv[1:])
    history = read_history(run_dir)
    begin = history.events_of(ServerReady)[0].t_ns / NS_PER_S
    end = history.events_of(PhaseEnd)[-1].t_ns / NS_PER_S - 1  # the last phase still runs
    board = read(boards[0] if boards else RUN_BOARD)
    with tempfile.TemporaryDirectory() as scratch, reopened(run_dir, Path(scratch)) as prometheus:
        text = page(board, prometheus, history.plan.run_id, TimeRange(begin, end))
    out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
