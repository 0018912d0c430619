"""A night as a job: which steps run, how it ends, and which files a CI system finds."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from kvchaos.errors import UsageError
from kvchaos.nightly.decision import Result
from kvchaos.nightly.job.job_outcome import FailureCategory, JobOutcome
from kvchaos.nightly.job.night_job import LONGEST_SUMMARY, JobSettings, run_job, write_github_files
from kvchaos.nightly.night_records import MeasuredScenario, NightPoint
from kvchaos.nightly.night_store import append_night
from tests.support.night_points import IDENTITY, night, point
from tests.support.stability_nights import BACK, GONE, KNOWN, NEW, TONIGHT, write_stability

FILES = {"summary.md", "junit.xml", "metrics.txt", "outcome.json"}


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    return JobSettings(
        file=Path("examples/nightly.yaml"),
        candidate="mine",
        control="0.31.0",
        budget="20m",
        history=tmp_path / "nights",
        runs=tmp_path / "runs",
        out=tmp_path / "out",
    )


class Commands:
    """Stands for `kvchaos`: stores a night where it is given points, and ends with given exit codes."""

    def __init__(
        self, settings: JobSettings, codes: Sequence[int], points: Sequence[NightPoint] = ()
    ) -> None:
        self.calls: list[Sequence[str]] = []
        self._settings = settings
        self._codes = list(codes)
        self._points = points

    def __call__(self, arguments: Sequence[str]) -> int:
        self.calls.append(arguments)
        if arguments[1] == "run" and self._points:
            measured = MeasuredScenario(scenario="chat-return", identity=IDENTITY, folder="compare-1")
            append_night(
                self._settings.history, replace(night(2), measured=[measured]), list(self._points), []
            )
        if arguments[1] == "page":
            Path(arguments[arguments.index("--summary") + 1]).write_text("ten-lines\n")
        return self._codes.pop(0)

    @property
    def steps(self) -> list[str]:
        return [call[1] if call[0] == "nightly" else call[0] for call in self.calls]


def run(settings: JobSettings, *codes: int, results: Sequence[Result] = ()) -> tuple[JobOutcome, Commands]:
    points = [point(2, result, series=f"chat-return/load/{number}") for number, result in enumerate(results)]
    commands = Commands(settings, codes, points)
    return run_job(settings, commands, lambda name: name), commands


def write_run(folder: Path, outcome: str | None) -> None:
    folder.mkdir(parents=True)
    (folder / "server.log").write_text("line\n")
    if outcome is not None:
        (folder / "verdict.json").write_text(json.dumps({"outcome": outcome, "run_id": folder.name}))


@pytest.mark.parametrize(
    ("codes", "results", "category", "code"),
    [
        ((0, 0), ["same"], "none", 0),
        ((1, 0), ["regressed", "same"], "regressed", 1),
        ((1, 0), ["same"], "not-as-expected", 1),
        ((2, 0), ["blind"], "blind", 2),
        ((130, 0), ["same"], "interrupted", 130),
        ((0, 3), ["same"], "page", 3),
        ((1, 3), ["regressed"], "regressed", 1),
    ],
)
def test_first_failed_step_decides_and_the_page_is_written_after_every_stored_night(
    settings: JobSettings,
    codes: Sequence[int],
    results: Sequence[Result],
    category: FailureCategory,
    code: int,
) -> None:
    outcome, commands = run(settings, *codes, results=results)
    assert (outcome.category, outcome.exit_code, outcome.night) == (category, code, night(2).night)
    assert commands.steps == ["run", "page"]
    assert json.loads((settings.out / "outcome.json").read_text())["category"] == category


def test_interrupted_comparison_is_followed_by_the_page_and_no_search(settings: JobSettings) -> None:
    outcome, commands = run(dataclasses.replace(settings, soak="6h"), 130, 0, results=["same"])
    assert (outcome.category, commands.steps) == ("interrupted", ["run", "page"])


@pytest.mark.parametrize(("code", "category"), [(3, "input"), (-9, "crashed"), (139, "crashed")])
def test_job_ends_where_no_night_was_measured(settings: JobSettings, code: int, category: str) -> None:
    outcome, commands = run(settings, code)
    assert (outcome.category, outcome.exit_code, outcome.night) == (category, code, None)
    assert commands.steps == ["run"]
    assert {path.name for path in settings.out.iterdir()} == FILES


def test_server_that_cannot_be_installed_measures_nothing(settings: JobSettings) -> None:
    commands = Commands(settings, [])

    def ensure(name: str) -> str:
        raise UsageError(f"server {name}: uv ended with code 1")

    outcome = run_job(settings, commands, ensure)
    assert (outcome.category, outcome.exit_code, commands.calls) == ("install", 3, [])
    assert {path.name for path in settings.out.iterdir()} == FILES


def test_history_that_cannot_be_read_is_bad_input(settings: JobSettings) -> None:
    settings.history.mkdir()
    (settings.history / "nights.jsonl").write_text("{}\n")
    outcome, commands = run(settings)
    assert (outcome.category, outcome.exit_code, commands.calls) == ("input", 3, [])


def test_comparison_receives_the_names_of_the_installed_environments(settings: JobSettings) -> None:
    commands = Commands(settings, [0, 0])
    run_job(settings, commands, lambda name: f"env-{name}")
    comparison = commands.calls[0]
    given = {name: comparison[comparison.index(name) + 1] for name in ("--candidate", "--control", "--for")}
    assert given == {"--candidate": "env-mine", "--control": "env-0.31.0", "--for": "20m"}


def test_earlier_night_is_not_reported_as_the_one_of_this_job(settings: JobSettings) -> None:
    append_night(settings.history, night(1), [point(1, "regressed")], [])
    outcome, _ = run(settings, 1, 0)
    assert (outcome.category, outcome.night) == ("regressed", None)


def test_runs_not_as_expected_are_kept_whole_and_others_with_their_verdict(settings: JobSettings) -> None:
    outcomes = {"good": "as expected", "bad": "not as expected", "cut": None, "open": "unknown"}
    for name, outcome in outcomes.items():
        write_run(settings.runs / "compare-1" / name, outcome)
    write_run(settings.runs / "compare-of-another-night" / "bad", "not as expected")
    run(settings, 1, 0, results=["same"])
    kept = settings.out / "runs" / "compare-1"
    assert {path.name: sorted(each.name for each in path.iterdir()) for path in kept.iterdir()} == {
        "good": ["verdict.json"],
        "bad": ["server.log", "verdict.json"],
        "cut": ["server.log"],
        "open": ["server.log", "verdict.json"],
    }
    assert [path.name for path in (settings.out / "runs").iterdir()] == ["compare-1"]


def test_summary_is_that_of_the_page_behind_the_outcome(settings: JobSettings) -> None:
    run(settings, 0, 0, results=["same"])
    lines = (settings.out / "summary.md").read_text().splitlines()
    assert lines[0].startswith("# ")
    assert lines[-1] == "ten-lines"


def test_files_of_an_earlier_job_are_removed(settings: JobSettings) -> None:
    write_run(settings.out / "runs" / "compare-0" / "bad", "unknown")
    (settings.out / "nightly.html").touch()
    run(settings, 3)
    assert {path.name for path in settings.out.iterdir()} == FILES


def test_junit_file_has_a_failure_for_regressed_and_an_error_for_blind(settings: JobSettings) -> None:
    run(settings, 1, 0, results=["same", "blind", "regressed", "improved"])
    suite = ET.parse(settings.out / "junit.xml").getroot()[0]
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "5",
        "failures": "2",
        "errors": "1",
    }
    kinds = {case.get("name"): [child.tag for child in case] for case in suite}
    assert kinds == {
        "night": ["failure"],
        "chat-return/load/2": ["failure"],
        "chat-return/load/1": ["error"],
        "chat-return/load/3": ["system-out"],
        "chat-return/load/0": ["system-out"],
    }


def test_job_that_could_not_measure_is_an_error_in_the_junit_file(settings: JobSettings) -> None:
    run(settings, 3)
    suite = ET.parse(settings.out / "junit.xml").getroot()[0]
    assert [[child.tag for child in case] for case in suite] == [["error"]]


def test_metrics_are_ratios_of_the_watched_series(settings: JobSettings) -> None:
    points = [point(2, slowdown=0.05), point(2, series="b/load/itl-median", slowdown=-0.01)]
    run_job(settings, Commands(settings, [0, 0], points), lambda name: name)
    text = (settings.out / "metrics.txt").read_text()
    (family,) = text_string_to_metric_families(text)
    assert {sample.labels["series"]: sample.value for sample in family.samples} == {
        points[0].series: 1.0513,
        points[1].series: 0.99,
    }
    assert text.endswith("# EOF\n")


def test_step_on_github_receives_outputs_and_a_summary_within_its_limit(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("x" * (LONGEST_SUMMARY + 1))
    environ = {"GITHUB_OUTPUT": str(tmp_path / "out"), "GITHUB_STEP_SUMMARY": str(tmp_path / "page")}
    (tmp_path / "out").write_text("earlier=1\n")
    write_github_files(environ, JobOutcome(category="regressed", exit_code=1, night="n"), summary)
    lines = (tmp_path / "out").read_text().splitlines()
    assert lines == ["earlier=1", "failure-category=regressed", "exit-code=1", "night=n"]
    assert (tmp_path / "page").stat().st_size == LONGEST_SUMMARY


def test_elsewhere_than_on_github_no_file_is_written(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.touch()
    write_github_files({}, JobOutcome(category="none", exit_code=0), summary)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.md"]


def test_folder_that_cannot_be_written_is_a_usage_error(settings: JobSettings) -> None:
    settings.out.write_text("a file")
    with pytest.raises(UsageError):
        run(settings, 0, 0)


class SearchCommands(Commands):
    """The same, with a search that stores its night and its runs."""

    def __call__(self, arguments: Sequence[str]) -> int:
        if arguments[0] == "soak":
            write_stability(self._settings.history, self._settings.runs)
        return super().__call__(arguments)


@pytest.fixture
def searched(settings: JobSettings) -> tuple[JobSettings, JobOutcome, Commands]:
    settings = dataclasses.replace(settings, soak="10m")
    commands = SearchCommands(settings, [0, 1, 0], [point(2)])
    return settings, run_job(settings, commands, lambda name: name), commands


def test_search_for_failures_comes_before_the_page(
    searched: tuple[JobSettings, JobOutcome, Commands],
) -> None:
    _, outcome, commands = searched
    assert commands.steps == ["run", "soak", "page"]
    assert (outcome.category, outcome.exit_code) == ("not-as-expected", 1)
    assert commands.calls[1][:5] == ("soak", "--for", "10m", "--server", "mine")


def test_search_is_in_the_junit_file_in_campaign_json_and_in_the_runs(
    searched: tuple[JobSettings, JobOutcome, Commands],
) -> None:
    out = searched[0].out
    suite = ET.parse(out / "junit.xml").getroot()[0]
    kinds = {case.get("name"): [child.tag for child in case] for case in suite}
    assert kinds.pop("positive control") == ["failure"]
    assert {name: kinds[name] for name in (NEW, BACK, KNOWN)} == {
        NEW: ["failure"],
        BACK: ["failure"],
        KNOWN: ["system-out"],
    }
    assert GONE not in kinds
    content = json.loads((out / "campaign.json").read_text())
    assert {each["signature"]: each["state"] for each in content["signatures"]} == {
        NEW: "new",
        BACK: "back",
        KNOWN: "ongoing",
        GONE: "gone",
    }
    assert len(content["runs"]) == len(TONIGHT)
    assert (out / "runs" / "soak-tonight" / "campaign.jsonl").is_file()


def test_new_unexplained_signatures_have_an_issue_text(
    searched: tuple[JobSettings, JobOutcome, Commands],
) -> None:
    folder = searched[0].out / "issues"
    (path,) = folder.iterdir()
    text = path.read_text()
    assert text.startswith(f"# {NEW}")
    # The synthetic run has nothing but its verdict.
    assert "run-0" in text


def test_search_of_an_earlier_night_is_not_reported_as_the_one_of_this_job(settings: JobSettings) -> None:
    write_stability(settings.history, settings.runs)
    run(settings, 0, 0, results=["same"])
    assert not (settings.out / "campaign.json").exists()


def test_regression_decides_the_job_even_if_the_search_fails_too(settings: JobSettings) -> None:
    outcome, commands = run(dataclasses.replace(settings, soak="10m"), 1, 1, 0, results=["regressed"])
    assert commands.steps == ["run", "soak", "page"]
    assert outcome.category == "regressed"
