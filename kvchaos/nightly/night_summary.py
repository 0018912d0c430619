"""The watched series of a night as a table in Markdown. Pure."""

from __future__ import annotations

from kvchaos.nightly.night_report import (
    NightReport,
    SeriesReport,
    figure_text,
    interval,
    probability,
    signed,
    unsigned,
)
from kvchaos.report.text_tables import cell_text, markdown_table

HEADINGS = ("series", "result", "control", "candidate", "slowdown", "95 % interval", "p", "visible step")


def series_table(report: NightReport) -> str:
    """The watched series in Markdown, the worst first."""
    return markdown_table(HEADINGS, (_cells(row) for row in report.watched))


def _cells(row: SeriesReport) -> list[str]:
    point, decision = row.point, row.point.decision
    if decision is None:
        return [cell_text(row.series), row.result, *[""] * (len(HEADINGS) - 2)]
    result = row.result if row.rank == row.result else f"{row.result} ({row.rank})"
    p = decision.screen_p if decision.confirm_p is None else decision.confirm_p
    return [
        cell_text(row.series),
        f"**{result}**" if row.rank != "same" else result,
        figure_text(point.control, point.unit),
        figure_text(point.candidate, point.unit),
        signed(decision.slowdown),
        interval(decision.low, decision.high),
        cell_text(probability(p)),
        unsigned(decision.visible_step),
    ]
