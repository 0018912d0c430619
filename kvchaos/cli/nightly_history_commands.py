"""Commands of `kvchaos nightly` that read the history: page, accept, export, creep. None needs a server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from kvchaos.errors import UsageError
from kvchaos.nightly.creep_detection import find_creep
from kvchaos.nightly.creep_record import CREEP, write_creep
from kvchaos.nightly.morning.morning_page import PAGE, page_html
from kvchaos.nightly.morning.morning_report import morning_report
from kvchaos.nightly.morning.morning_summary import summary_markdown
from kvchaos.nightly.night_changes import acceptance
from kvchaos.nightly.night_report import night_report, signed
from kvchaos.nightly.night_store import NightHistory, append_changes, read_nights
from kvchaos.nightly.openmetrics_export import night_families
from kvchaos.nightly.page_links import PageFolders
from kvchaos.nightly.pytorch_export import pytorch_records
from kvchaos.openmetrics_text import exposition
from kvchaos.paths import runs_folder
from kvchaos.stability.campaign_export import RUNS_URL, campaign_families
from kvchaos.stability.campaign_results import read_campaign
from kvchaos.stability.soak_export import soak_families
from kvchaos.stability.stability_store import read_stability
from kvchaos.tools.otava import OTAVA
from kvchaos.tools.tool import need_tool

HistoryOption = Annotated[Path, typer.Option(help="Folder of the history.")]


class ExportFormat(StrEnum):
    """What other tools read."""

    OPENMETRICS = "openmetrics"
    PYTORCH = "pytorch"


NO_NIGHTS = "{folder}: has no nights; give the folder of a history with --history"
EXPORT_FILES = {ExportFormat.OPENMETRICS: "history.om", ExportFormat.PYTORCH: "pytorch.json"}


def page_command(
    history: HistoryOption,
    output: Annotated[
        Path | None, typer.Option(help=f"Page to write. Default: {PAGE} in the history.")
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(help="Markdown file to which the summary is appended, such as $GITHUB_STEP_SUMMARY."),
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Folder of the runs that the page links to. Default: ./runs.")
    ] = None,
) -> None:
    """Write the page of the nights, and print the last night in ten lines."""
    folders = PageFolders((output or history / PAGE).parent, runs or runs_folder())
    report = morning_report(history, folders.runs)
    path = output or history / PAGE
    _write(path, page_html(report, folders).encode())
    if summary is not None:
        _append(summary, summary_markdown(report))
    for line in report.headlines():
        typer.echo(f"{line.label}: {line.text}")
    typer.echo(str(path))


def accept_command(
    change: Annotated[str, typer.Argument(help="Change, such as 2026-11-30-chat-return.")],
    reason: Annotated[str, typer.Option(help="Why the step stays, with its issue or pull request.")],
    history: HistoryOption,
) -> None:
    """Accept a change: its step is the new level, and raises no alarm any more."""
    line = acceptance(_nights(history), change, reason)
    append_changes(history, [line])
    for series, step in zip(line.series, line.slowdowns, strict=True):
        typer.echo(f"{series}: {signed(step)} accepted")


def export_command(
    form: Annotated[ExportFormat, typer.Argument(metavar="FORMAT", help="openmetrics or pytorch.")],
    history: HistoryOption,
    output: Annotated[
        Path | None, typer.Option(help="File to write. Default: history.om or pytorch.json in the history.")
    ] = None,
    campaign: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of a night of kvchaos soak, whose runs are exported one by one. Repeatable."
        ),
    ] = None,
    runs_url: Annotated[
        str,
        typer.Option(help="URL of the folder of all runs and nights, for links from dashboards to reports."),
    ] = RUNS_URL,
) -> None:
    """Export all nights as OpenMetrics, or the last night as records of PyTorch's benchmark database.

    OpenMetrics also has the nights of kvchaos soak.
    """
    path = output or history / EXPORT_FILES[form]
    if not runs_url.startswith(("http://", "https://")):
        raise UsageError(f"--runs-url {runs_url}: write a URL such as {RUNS_URL}")
    if form is ExportFormat.OPENMETRICS:
        content = _openmetrics(history, campaign or (), runs_url).encode()
    else:
        content = pytorch_records(night_report(_nights(history)))
    _write(path, content)
    typer.echo(str(path))


def _openmetrics(history: Path, campaigns: Sequence[Path], runs_url: str) -> str:
    """All nights and campaigns as text. Raises UsageError where there is neither."""
    nights, stability = read_nights(history), read_stability(history)
    results = sorted(map(read_campaign, campaigns), key=lambda each: each.name)
    if not (nights.nights or stability.nights or results):
        raise UsageError(NO_NIGHTS.format(folder=history))
    runs = campaign_families(results, runs_url)
    return exposition(chain(night_families(nights, runs_url), soak_families(stability), runs))


def creep_command(history: HistoryOption) -> None:
    """Search the nights for change points with Apache Otava, and note suspicious series for the page."""
    nights = _nights(history)
    found = find_creep(nights, need_tool(os.environ, OTAVA))
    write_creep(history, found)
    for each in found.suspicions:
        typer.echo(f"suspicious: {each.series}: {signed(each.slowdown)} since {each.night[:10]}")
    typer.echo(f"{len(found.suspicions)} suspicious series; {history / CREEP}")


def _nights(folder: Path) -> NightHistory:
    """The history of a folder that has one. Raises UsageError."""
    found = read_nights(folder)
    if not found.nights:
        raise UsageError(NO_NIGHTS.format(folder=folder))
    return found


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def _append(path: Path, text: str) -> None:
    """Other steps of a CI job may have written to the same summary."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
