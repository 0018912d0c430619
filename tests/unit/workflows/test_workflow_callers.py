"""Examples of docs/run-every-night.md for other repositories: valid, short, with inputs that exist."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.support.source_tree import ROOT
from tests.support.workflow_files import GITLAB, WORKFLOW, load, schema_problem, security_findings

PAGE = (ROOT / "docs/run-every-night.md").read_text(encoding="utf-8")
MOST_LINES = 15
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def example(path: Path, key: str) -> Path:
    """The block of YAML of the page with this key at its top, written to a file with a real commit."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if re.search(rf"^{key}:", block, re.MULTILINE))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.replace("COMMIT\n", f"{COMMIT}\n").replace("OWNER", "acme"), encoding="utf-8")
    return path


def test_caller_of_the_workflow_fits_fifteen_lines_and_is_valid(tmp_path: Path) -> None:
    caller = example(tmp_path / ".github/workflows/kvchaos.yml", "jobs")
    assert len(caller.read_text().splitlines()) <= MOST_LINES
    assert schema_problem("github-workflows", caller) is None


def test_caller_has_no_weakness_but_missing_extras(tmp_path: Path) -> None:
    caller = example(tmp_path / ".github/workflows/kvchaos.yml", "jobs")
    optional = {"anonymous-definition", "concurrency-limits", "undocumented-permissions"}
    assert set(security_findings(caller)) - optional == set()


def test_caller_gives_inputs_and_permissions_of_the_workflow(tmp_path: Path) -> None:
    (job,) = load(example(tmp_path / "caller.yml", "jobs"))["jobs"].values()
    assert job["uses"] == f"acme/kvchaos/{WORKFLOW.relative_to(ROOT)}@{COMMIT}"
    assert job["with"].keys() <= load(WORKFLOW)[True]["workflow_call"]["inputs"].keys()
    assert job["permissions"] == load(WORKFLOW)["jobs"]["publish"]["permissions"]


def test_page_explains_every_input_of_the_workflow() -> None:
    inputs = load(WORKFLOW)[True]["workflow_call"]["inputs"]
    assert [name for name in inputs if f"`{name}`" not in PAGE] == []


def test_gitlab_example_is_valid_and_sets_variables_of_the_include(tmp_path: Path) -> None:
    path = example(tmp_path / "caller.yml", "include")
    assert schema_problem("gitlab-ci", path) is None
    content = yaml.safe_load(path.read_text())
    assert content["variables"].keys() <= load(GITLAB)["variables"].keys()
    assert [each["file"] for each in content["include"]] == [GITLAB.relative_to(ROOT).as_posix()]
