"""The last night as Markdown for the page of a CI job. GitHub takes 1 MiB of it."""

from __future__ import annotations

from kvchaos.nightly.night_headlines import headlines
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

MAX_BYTES = 1_000_000
"""Below GitHub's limit for the summary of a step, 1 MiB."""
SYMBOLS = {"bad": "❌", "good": "✅", "unknown": "❔", "note": "▫️"}
HEADINGS = ("series", "result", "control", "candidate", "slowdown", "95 % interval", "p", "visible step")


def summary_markdown(report: NightReport) -> str:
    """The ten lines, then the watched series, the worst first. Lines that do not fit are left out."""
    lines = [f"# kvchaos nightly, {report.night.night[:10]}\n\n"]
    lines += [
        f"- {SYMBOLS[each.tone]} **{each.label}:** {cell_text(each.text)}\n" for each in headlines(report)
    ]
    rows = markdown_table(HEADINGS, (_cells(row) for row in report.watched))
    return _within_limit([*lines, "\n", *rows.splitlines(keepends=True)])


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


def _within_limit(lines: list[str]) -> str:
    """Whole lines up to the limit, and then how many are left out."""
    kept: list[str] = []
    size = 0
    for number, line in enumerate(lines):
        size += len(line.encode())
        if size > MAX_BYTES - 100:
            return f"{''.join(kept)}\n{len(lines) - number} lines left out\n"
        kept.append(line)
    return "".join(kept)
