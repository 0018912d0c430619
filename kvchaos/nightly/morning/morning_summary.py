"""The last night as Markdown for the page of a CI job. GitHub takes 1 MiB of it."""

from __future__ import annotations

from kvchaos.nightly.morning.morning_report import MorningReport
from kvchaos.nightly.night_summary import series_table
from kvchaos.report.headline import headlines_markdown
from kvchaos.stability.stability_summary import signature_table

MAX_BYTES = 1_000_000
"""Below GitHub's limit for the summary of a step, 1 MiB."""


def summary_markdown(report: MorningReport) -> str:
    """The ten lines, the signatures, the watched series. Lines that do not fit are left out."""
    lines = [f"# kvchaos nightly, {report.date}\n\n", *headlines_markdown(report.headlines())]
    if report.stability is not None:
        table = signature_table(report.stability)
        lines += [f"\n## Signatures, {report.stability.night.night}\n\n", *table.splitlines(keepends=True)]
    if report.performance is not None:
        table = series_table(report.performance)
        lines += [f"\n## Series, {report.performance.night.night}\n\n", *table.splitlines(keepends=True)]
    return _within_limit(lines)


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
