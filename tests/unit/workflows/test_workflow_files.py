"""Files for GitHub and GitLab: valid, without known weaknesses, and all that they run is in the Makefile."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest

from kvchaos.nightly.job.job_outcome import FailureCategory, JobOutcome, github_outputs
from tests.support.source_tree import ROOT
from tests.support.workflow_files import (
    ACTIONS,
    GITLAB,
    GRAFANA_WORKFLOW,
    SCHEMAS,
    WORKFLOW,
    WORKFLOWS,
    load,
    schema_problem,
    security_findings,
    strange_lines,
    targets,
    truth,
)

FILES = (*WORKFLOWS, *ACTIONS, GITLAB)
NIGHTLY = next(path for path in ACTIONS if path.parent.name == "kvchaos-nightly")
OURS, FORK = "acme/vllm", "someone/vllm"
HEAD = "github.event.pull_request.head.repo.full_name"
GPU = '["self-hosted", "gpu"]'


def names(paths: tuple[Path, ...]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def planted(tmp_path: Path, source: Path, old: str, new: str) -> Path:
    """A copy of a file with one change."""
    text = source.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / source.parent.name / source.name
    path.parent.mkdir()
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_are_valid(schema: str) -> None:
    assert schema_problem(schema, *SCHEMAS[schema]) is None


@pytest.mark.parametrize(
    ("schema", "source", "old", "new"),
    [
        ("github-workflows", WORKFLOW, "runs-on:", "run-on:"),
        ("github-actions", NIGHTLY, "using: composite", "using: compost"),
        ("gitlab-ci", GITLAB, "script:", "scripts:"),
    ],
)
def test_planted_wrong_key_or_value_is_found(
    tmp_path: Path, schema: str, source: Path, old: str, new: str
) -> None:
    assert schema_problem(schema, planted(tmp_path, source, old, new)) is not None


def test_no_file_has_a_known_weakness() -> None:
    assert security_findings(*WORKFLOWS, *ACTIONS) == []


CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
UPLOAD = "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0"
TARGET = 'make --directory "$GITHUB_ACTION_PATH/../../.." nightly'


@pytest.mark.parametrize(
    ("source", "old", "new", "audit"),
    [
        (WORKFLOW, CHECKOUT, "actions/checkout@v7", "unpinned-uses"),
        (GRAFANA_WORKFLOW, CHECKOUT, "actions/checkout@v7", "unpinned-uses"),
        (GRAFANA_WORKFLOW, "persist-credentials: false", "fetch-depth: 1", "artipacked"),
        (NIGHTLY, UPLOAD, "actions/upload-artifact@main", "unpinned-uses"),
        (NIGHTLY, TARGET, "make nightly CANDIDATE=${{ inputs.candidate }}", "template-injection"),
        (WORKFLOW, "permissions:\n  contents: read\n", "permissions: write-all\n", "excessive-permissions"),
        (WORKFLOW, "  pull_request:\n", "  pull_request_target:\n", "dangerous-triggers"),
    ],
)
def test_planted_weakness_is_found(tmp_path: Path, source: Path, old: str, new: str, audit: str) -> None:
    assert audit in security_findings(planted(tmp_path, source, old, new))


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_every_line_that_runs_is_a_target_of_make(path: Path) -> None:
    assert strange_lines(load(path)) == []
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [name for name in targets(load(path)) if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


@pytest.mark.parametrize(
    "step",
    [
        {"run": "pip install vllm"},
        {"run": "make nightly\ncurl host.example"},
        {"run": "make nightly && ls"},
        {"script": ["make nightly", "echo $TOKEN"]},
        {"run": 'make --directory "$GITHUB_WORKSPACE" nightly'},
    ],
)
def test_planted_line_that_is_no_target_is_found(step: dict[str, object]) -> None:
    assert len(strange_lines({"jobs": {"planted": {"steps": [step]}}})) == 1


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_no_file_uses_a_secret(path: Path) -> None:
    assert re.search(r"secrets\.|password|_TOKEN", path.read_text(encoding="utf-8")) is None


def test_only_the_job_that_publishes_may_write() -> None:
    workflow = load(WORKFLOW)
    assert workflow["permissions"] == {"contents": "read"}
    granted = {name: job.get("permissions") for name, job in workflow["jobs"].items()}
    assert granted == {"history": None, "measure": None, "publish": {"contents": "write"}}


def test_job_in_grafana_may_only_read_and_runs_weekly_or_by_hand() -> None:
    workflow = load(GRAFANA_WORKFLOW)
    assert workflow["permissions"] == {"contents": "read"}
    assert [job.get("permissions") for job in workflow["jobs"].values()] == [None]
    assert workflow[True].keys() == {"schedule", "workflow_dispatch"}
    (schedule,) = workflow[True]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", schedule["cron"])


def test_job_that_runs_the_candidate_has_no_checkout_with_credentials() -> None:
    used = [step["uses"].partition("@")[0] for step in load(WORKFLOW)["jobs"]["measure"]["steps"]]
    assert "actions/checkout" not in used


def test_request_by_hand_and_call_have_the_same_inputs() -> None:
    triggers = load(WORKFLOW)[True]  # YAML 1.1 reads `on` as true.
    call = dict(triggers["workflow_call"]["inputs"])
    del call["wheel-artifact"]  # of an earlier job of the caller
    assert call == triggers["workflow_dispatch"]["inputs"]
    assert all(each["type"] == "string" and "default" not in each for each in call.values())


@pytest.mark.parametrize(
    ("values", "runs"),
    [
        ({"github.event_name": "schedule"}, True),
        ({"github.event_name": "workflow_dispatch", "inputs.runner": GPU}, True),
        ({"github.event_name": "pull_request", HEAD: OURS, "inputs.runner": GPU}, True),
        ({"github.event_name": "pull_request", HEAD: FORK}, True),
        ({"github.event_name": "pull_request", HEAD: FORK, "inputs.runner": GPU}, False),
        ({"github.event_name": "pull_request", HEAD: None, "inputs.runner": GPU}, False),
        (
            {
                "github.event_name": "pull_request",
                HEAD: FORK,
                "inputs.runner": GPU,
                "inputs.fork-environment": "approved",
            },
            True,
        ),
    ],
)
def test_fork_reaches_an_own_runner_only_behind_an_environment(values: dict[str, object], runs: bool) -> None:
    job = load(WORKFLOW)["jobs"]["measure"]
    given = {"github.repository": OURS, **values}
    assert bool(truth(job["if"], given)) is runs
    is_fork = values["github.event_name"] == "pull_request" and values[HEAD] != OURS
    expected = values.get("inputs.fork-environment", "") if is_fork else ""
    assert truth(job["environment"], given) == expected


@pytest.mark.parametrize(
    ("event", "label", "runs"),
    [("schedule", "", True), ("pull_request", "kvchaos", True), ("pull_request", "bug", False)],
)
def test_pull_request_needs_the_label(event: str, label: str, runs: bool) -> None:
    job = load(WORKFLOW)["jobs"]["history"]
    given = {"github.event_name": event, "github.event.label.name": label}
    assert bool(truth(job["if"], given)) is runs


@pytest.mark.parametrize(
    ("event", "night", "publishes"),
    [("schedule", "n", True), ("schedule", "", False), ("pull_request", "n", False)],
)
def test_nights_are_published_even_after_a_regression_and_never_of_pull_requests(
    event: str, night: str, publishes: bool
) -> None:
    job = load(WORKFLOW)["jobs"]["publish"]
    given = {"github.event_name": event, "needs.measure.outputs.night": night}
    assert bool(truth(job["if"], given)) is publishes


def test_outputs_of_the_action_are_those_that_the_job_writes() -> None:
    written = [
        line.partition("=")[0] for line in github_outputs(JobOutcome(category="none", exit_code=0)).split()
    ]
    assert list(load(NIGHTLY)["outputs"]) == written


@pytest.mark.parametrize("path", [WORKFLOW, NIGHTLY], ids=["workflow", "action"])
def test_described_categories_are_those_that_exist(path: Path) -> None:
    content = load(path)
    outputs = content[True]["workflow_call"]["outputs"] if path == WORKFLOW else content["outputs"]
    described = re.split(r", | or ", outputs["failure-category"]["description"])
    assert described == list(typing.get_args(FailureCategory))


def test_artifacts_expire() -> None:
    steps = [step for path in WORKFLOWS for job in load(path)["jobs"].values() for step in job["steps"]]
    steps += load(NIGHTLY)["runs"]["steps"]
    uploads = [step["with"] for step in steps if "upload-artifact" in step.get("uses", "")]
    assert len(uploads) == 4
    assert all("retention-days" in each for each in uploads)
    assert load(GITLAB)["kvchaos-nightly"]["artifacts"]["expire_in"] == "30 days"
