"""The walks of the tutorials that need no server end as the pages say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from benchmarks.verdict_image import EXAMPLE
from history.scenario import Scenario
from kvchaos.cli.app import run as command_line
from kvchaos.planning.scenario_file import find_scenario, load_scenario
from tests.support.source_tree import ROOT

DOCS = ROOT / "docs"
CHANGED = re.compile(r"^ +sed -i '(\d+)s/(.*)/(.*)/' red/requests-0\.jsonl$", re.MULTILINE)


def test_copy_with_another_token_is_judged_as_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (DOCS / "read-a-red-verdict.md").read_text(encoding="utf-8")
    found = CHANGED.search(page)
    assert found is not None
    number, pattern, text = int(found[1]) - 1, found[2], found[3]
    shutil.copytree(EXAMPLE, tmp_path / "red")
    monkeypatch.chdir(tmp_path)
    path = Path("red/requests-0.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    changed = re.sub(pattern, text.replace(r"\[", "["), lines[number], count=1)
    assert changed != lines[number]
    path.write_text("".join([*lines[:number], changed, *lines[number + 1 :]]), encoding="utf-8")
    assert (command_line(["reseal", "red"]), command_line(["judge", "red"])) == (0, 1)
    printed = " ".join(capsys.readouterr().out.split())
    causes = [line.strip() for line in page.splitlines() if line.startswith("    cause: ")]
    assert [cause for cause in causes if cause not in printed] == []


def scenario_of(page: str, tmp_path: Path) -> Scenario:
    """The blocks of YAML of a tutorial, one after the other, as a scenario file."""
    text = "".join(re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return load_scenario(path)


def test_scenario_of_the_tutorial_equals_the_one_whose_verdict_it_shows(tmp_path: Path) -> None:
    page = (DOCS / "first-scenario.md").read_text(encoding="utf-8")
    made = scenario_of(page, tmp_path).model_dump()
    shown = load_scenario(find_scenario("corruption-canary")).model_dump()
    names = ("name", "summary")
    assert {key: made[key] for key in made if key not in names} == {
        key: shown[key] for key in shown if key not in names
    }


def test_unfinished_scenario_of_the_tutorial_ends_with_the_line_that_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (DOCS / "first-scenario.md").read_text(encoding="utf-8")
    block = re.search(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert block is not None
    assert yaml.safe_load(block[1])["name"] == "mine"
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(block[1], encoding="utf-8")
    assert command_line(["plan", "mine.yaml"]) == 3
    assert f"    {capsys.readouterr().err}" in page
