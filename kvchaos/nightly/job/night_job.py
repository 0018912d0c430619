"""One night as a job: servers, comparison, page, and the files that a CI system collects.

Each step is a command of `kvchaos`. The first one that fails decides how the job ended; a page is written
after a regression, too.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from kvchaos.errors import UsageError
from kvchaos.nightly.job.campaign_file import campaign_json
from kvchaos.nightly.job.job_outcome import (
    CATEGORY_OF_RUN,
    CATEGORY_OF_SOAK,
    FailureCategory,
    JobOutcome,
    github_outputs,
    refined,
)
from kvchaos.nightly.job.job_report import junit_text, metrics_text, summary_text
from kvchaos.nightly.job.kept_runs import keep_runs, keep_searched_runs
from kvchaos.nightly.job.new_issues import write_new_issues
from kvchaos.nightly.night_records import Night, NightPoint
from kvchaos.nightly.night_store import NightHistory, read_nights
from kvchaos.stability.stability_report import StabilityReport, stability_report
from kvchaos.stability.stability_store import read_stability

EXIT_INPUT = 3
GOES_ON: frozenset[FailureCategory] = frozenset(
    {"none", "not-as-expected", "regressed", "blind", "interrupted"}
)
"""After these a night was stored, and the page is written."""
PAGE, SUMMARY, JUNIT, METRICS, OUTCOME, CAMPAIGN = (
    "nightly.html",
    "summary.md",
    "junit.xml",
    "metrics.txt",
    "outcome.json",
    "campaign.json",
)
"""What a CI system collects. The command that writes the page appends to the summary."""
RUNS, ISSUES = "runs", "issues"
LONGEST_SUMMARY = 900_000
"""Bytes; GitHub refuses a summary of more than 1 MiB."""
Command = Callable[[Sequence[str]], int]
"""Runs `kvchaos` with these arguments, and returns its exit code."""
EnsureServer = Callable[[str], str]
"""Name of the server environment for a build, installed where it is missing. Raises UsageError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """What a job measures, and where its files are."""

    file: Path
    """What to measure."""
    candidate: str
    control: str
    budget: str
    soak: str | None = None
    """Duration of the search for failures on the candidate; None: no search."""
    history: Path
    runs: Path
    out: Path
    """Folder for the files that the CI system collects."""


@dataclass(frozen=True, slots=True)
class JobStep:
    """One command of a job."""

    arguments: tuple[str, ...]
    categories: Mapping[int, FailureCategory]
    """By exit code."""
    otherwise: FailureCategory = "crashed"
    """For any other exit code."""


def job_steps(settings: JobSettings) -> tuple[JobStep, ...]:
    """The commands of a job, in order. Whatever else a night does is a step before the page."""
    history = str(settings.history)
    comparison = (
        *("nightly", "run", str(settings.file)),
        *("--candidate", settings.candidate, "--control", settings.control),
        *("--for", settings.budget, "--history", history, "--runs", str(settings.runs)),
    )
    page = (
        *("nightly", "page", "--history", history, "--runs", str(settings.runs)),
        *("--output", str(settings.out / PAGE), "--summary", str(settings.out / SUMMARY)),
    )
    search = (
        *("soak", "--for", str(settings.soak), "--server", settings.candidate),
        *("--history", history, "--runs", str(settings.runs)),
    )
    searches = [JobStep(search, CATEGORY_OF_SOAK)] if settings.soak is not None else []
    return (JobStep(comparison, CATEGORY_OF_RUN), *searches, JobStep(page, {0: "none"}, "page"))


def run_job(settings: JobSettings, command: Command, ensure_server: EnsureServer) -> JobOutcome:
    """Do the whole job, and write its files. Raises UsageError where these cannot be written."""
    _empty(settings.out)
    try:
        before = {night.night for night in read_nights(settings.history).nights}
        searched = {night.night for night in read_stability(settings.history).nights}
        outcome = _run_steps(settings, command, ensure_server)
        past = read_nights(settings.history)
        stability = stability_report(settings.history, settings.runs)
    except UsageError as error:
        invalid = JobOutcome(category="input", exit_code=EXIT_INPUT, detail=str(error))
        return _report(settings, invalid, None, NightHistory(), None)
    new = [night for night in past.nights if night.night not in before]
    if stability is not None and stability.night.night in searched:
        stability = None
    return _report(settings, outcome, new[-1] if new else None, past, stability)


def _empty(out: Path) -> None:
    """Remove what an earlier job left. Raises UsageError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in (PAGE, SUMMARY, JUNIT, METRICS, OUTCOME, CAMPAIGN):
            (out / name).unlink(missing_ok=True)
        for name in (RUNS, ISSUES):
            if (out / name).is_dir():
                shutil.rmtree(out / name)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from error


def _run_steps(settings: JobSettings, command: Command, ensure_server: EnsureServer) -> JobOutcome:
    try:
        control = ensure_server(settings.control)
        candidate = ensure_server(settings.candidate)
    except UsageError as error:
        return JobOutcome(category="install", exit_code=EXIT_INPUT, detail=str(error))
    first: JobOutcome | None = None
    *measuring, page = job_steps(replace(settings, control=control, candidate=candidate))
    for step in (*measuring, page):
        if first is not None and first.category == "interrupted" and step is not page:
            continue  # The signal that ended the comparison is not followed by a search of hours.
        code = command(step.arguments)
        category = step.categories.get(code, step.otherwise)
        if category != "none" and first is None:
            first = JobOutcome(category=category, exit_code=code)
        if category not in GOES_ON:
            break
    return first or JobOutcome(category="none", exit_code=0)


def _report(
    settings: JobSettings,
    outcome: JobOutcome,
    night: Night | None,
    past: NightHistory,
    stability: StabilityReport | None,
) -> JobOutcome:
    """Write what the CI system collects of the night and the search of this job."""
    points: Sequence[NightPoint] = past.by_night[night.night] if night else ()
    out = settings.out
    try:
        if night is not None:
            outcome = refined(outcome, night, points)
            keep_runs(night, settings.runs, out / RUNS)
        if stability is not None:
            keep_searched_runs(stability.night, settings.runs, out / RUNS)
            (out / CAMPAIGN).write_bytes(campaign_json(stability))
            write_new_issues(stability, settings.runs, out / ISSUES)
        summary = out / SUMMARY
        of_page = summary.read_text(encoding="utf-8") if summary.exists() else ""
        summary.write_text(summary_text(outcome, night, of_page), encoding="utf-8")
        (out / JUNIT).write_text(junit_text(outcome, night, points, stability), encoding="utf-8")
        (out / METRICS).write_text(metrics_text(points), encoding="utf-8")
        (out / OUTCOME).write_bytes(msgspec.json.encode(outcome) + b"\n")
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from error
    return outcome


def write_github_files(environ: Mapping[str, str], outcome: JobOutcome, summary: Path) -> None:
    """Append to the files that a step on GitHub has for its outputs and its summary; elsewhere nothing."""
    texts = {
        "GITHUB_OUTPUT": github_outputs(outcome).encode(),
        "GITHUB_STEP_SUMMARY": summary.read_bytes()[:LONGEST_SUMMARY],
    }
    for variable, text in texts.items():
        if name := environ.get(variable):
            with Path(name).open("ab") as file:
                file.write(text)
