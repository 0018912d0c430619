"""Issue texts for the new signatures of a night: a few, since a night with many has one cause more often."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kvchaos.errors import UsageError
from kvchaos.stability.signature_states import TrackedSignature
from kvchaos.stability.stability_report import StabilityReport
from kvchaos.triage.issue_files import write_issue
from kvchaos.triage.result_files import write_text_file
from kvchaos.triage.triage_runner import read_stored_failure

MOST = 3
"""Texts of a night; the page lists all signatures."""


def new_signatures(report: StabilityReport) -> Iterator[TrackedSignature]:
    """Those that need a text: new, and not explained by a known bug or linked to an issue."""
    for each in report.tracked:
        unexplained = each.latest.unexplained and report.links.issue(each.signature) is None
        if each.state == "new" and unexplained:
            yield each


def write_new_issues(report: StabilityReport, runs: Path, folder: Path) -> list[Path]:
    """Write the texts of the first few, and their scripts. Raises UsageError, OSError.

    A run that cannot be read leaves a text that says why.
    """
    written = []
    for number, each in enumerate(new_signatures(report), start=1):
        if number > MOST:
            break
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"issue-{number}.md"
        _, _, example = each.latest.examples[0]
        try:
            stored = read_stored_failure(runs / report.night.folder / example, each.signature)
            write_issue(stored, path, runs)
        except UsageError as error:
            write_text_file(path, f"# {each.signature}\n\nNo text: {error}\n")
        written.append(path)
    return written
