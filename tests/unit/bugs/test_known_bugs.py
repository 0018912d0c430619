"""A bug's file that is read wrongly makes runs wrong silently, so reading is strict and names the problem."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.version import Version

from kvchaos.bugs.bug_catalogue import KnownBug, find_bug, known_bugs, load_bugs
from kvchaos.bugs.bug_pages import bug_lines, insert_table, reproduce
from kvchaos.cli.app import run
from kvchaos.planning.scenario_file import scenario_files

PAGE = Path(__file__).parents[3] / "docs" / "known-bugs.md"
GOOD: dict[str, Any] = {
    "id": "vllm-1",
    "title": "It stops",
    "links": ["https://github.com/vllm-project/vllm/issues/1"],
    "releases": ">=0.16,<0.19",
    "mechanism": "It waits for itself. Nothing ends that.",
    "signatures": ["progress/deadlock: server"],
    "tested": [{"release": "0.18.0", "scenario": "aborts", "result": "shows"}],
    "shows": [{"scenario": "aborts", "always": ["progress/deadlock"], "by_chance": ["logs"]}],
}


def write(folder: Path, **changes: object) -> Path:
    path = folder / "vllm-1.yaml"
    path.write_text(yaml.safe_dump({**copy.deepcopy(GOOD), **changes}))
    return path


def shows(**changes: object) -> list[dict[str, object]]:
    return [{**GOOD["shows"][0], **changes}]


def test_valid_known_bug_file_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    (bug,) = load_bugs(tmp_path)
    assert (bug.id, bug.reference) == ("vllm-1", "vllm#1")
    assert [shown.always for shown in bug.showing("aborts", Version("0.18.0"))] == [("progress/deadlock",)]


@pytest.mark.parametrize("bug", known_bugs(), ids=lambda bug: bug.id)
def test_known_bug_names_existing_scenarios(bug: KnownBug) -> None:
    there = {path.stem for path in scenario_files()}
    assert {shown.scenario for shown in bug.shows} <= there
    assert {tested.scenario for tested in bug.tested} - {None} <= there


@pytest.mark.parametrize("bug", known_bugs(), ids=lambda bug: bug.id)
def test_known_bug_was_reproduced_on_a_release(bug: KnownBug) -> None:
    assert any(tested.result == "shows" for tested in bug.tested)


@pytest.mark.parametrize("bug", known_bugs(), ids=lambda bug: bug.id)
def test_known_bug_was_reproduced_in_its_release_range_only(bug: KnownBug) -> None:
    shown_on = [tested.release for tested in bug.tested if tested.result == "shows"]
    assert [release for release in shown_on if not bug.on(Version(release))] == []


def test_pre_and_post_releases_have_the_bugs_of_their_release() -> None:
    bug = find_bug("vllm-36533", known_bugs())
    releases = ("0.15.1", "0.16.0", "0.18.1.post1", "0.18.0rc1", "0.19.0")
    assert [bug.on(Version(release)) for release in releases] == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("vllm-36533", "vllm#36533"),
        ("vllm-pr-37354", "vllm PR#37354"),
        ("unreported-clamped-local-hits", "unreported-clamped-local-hits"),
    ],
)
def test_a_bug_is_named_as_upstream_names_it(name: str, reference: str) -> None:
    assert find_bug(name, known_bugs()).reference == reference


@pytest.mark.parametrize(
    ("name", "command"),
    [
        # It shows in other scenarios, too, but not for certain.
        ("vllm-36533", "kvchaos run mid-prefill-preemption --server 0.18.0"),
        ("vllm-49118", "kvchaos run abort-queued --server 0.26.0"),
        ("unreported-deadlock-of-long-prompts", "kvchaos run mid-prefill-preemption --server 0.21.0"),
        ("vllm-36451", None),
    ],
)
def test_the_command_that_reproduces_a_bug_names_a_run_that_showed_it(name: str, command: str | None) -> None:
    assert reproduce(find_bug(name, known_bugs())) == command


def test_bug_page_shows_every_field() -> None:
    bug = find_bug("vllm-49118", known_bugs())
    shown = "\n".join(bug_lines(bug))
    parts = (bug.title, bug.releases, *bug.links, bug.mechanism, *bug.signatures, "vllm-31503")
    assert [part for part in parts if part not in shown] == []


def test_the_list_has_a_line_for_each_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bugs"]) == 0
    firsts = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert {bug.id for bug in known_bugs()} <= firsts


def test_bug_page_shows_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bugs", "vllm-36533"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("kvchaos run mid-prefill-preemption --server 0.18.0")


def test_unknown_bug_id_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bugs", "vllm-0"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "vllm-0" in line


def test_known_bug_page_matches_the_data() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert insert_table(page, known_bugs()) == page, "run: kvchaos bugs --page docs/known-bugs.md"
