"""Bad input of the matrix is one line that says what, where and what to do; exit code 3."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kvchaos.cli.app import run
from kvchaos.errors import UsageError
from kvchaos.matrix.cells import Results, read_all, read_results, write_results
from tests.unit.matrix.test_report_of_matrix import cell

GOOD = Results(release="0.18.0", cells=[cell("aborts", "as expected"), cell("evict-storm", "unknown")])


def write(folder: Path, content: object, name: str = "0.18.0") -> Path:
    path = folder / f"{name}.json"
    path.write_bytes(msgspec.json.encode(content))
    return path


def changed(**changes: object) -> dict[str, Any]:
    return {**msgspec.to_builtins(GOOD), **changes}


def first_cell(**changes: object) -> dict[str, Any]:
    return changed(cells=[{**msgspec.to_builtins(GOOD.cells[0]), **changes}])


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--shard", "6/5"], "--shard 6/5: .*2/5"),
        (["--releases", "0.99.0"], "unknown vLLM release '0.99.0'; known: 0.16.0"),
        (["--releases", " "], "--releases: is empty"),
        (["--scenarios", "nope"], "no local scenario named nope; there are abort-queued"),
        (["--scenarios", "cpu-squeeze"], "no local scenario named cpu-squeeze"),
        (["--page", "absent.md"], "absent.md: No such file"),
    ],
)
def test_matrix_usage_error_is_one_line(
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    what: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["matrix", *arguments]) == 3
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert line.startswith("kvchaos: ")
    assert re.search(what, line)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (changed(extra=1), "unknown field `extra`"),
        (changed(v=2), "Invalid enum value 2 - at `\\$.v`"),
        (changed(release="0.32.0"), "release: 0.32.0 is in the file of 0.18.0"),
        (changed(cells=[*changed()["cells"]][::-1]), "not sorted by scenario"),
        (changed(cells=[changed()["cells"][0]] * 2), "a scenario is there twice"),
        (first_cell(outcome="green"), r"Invalid enum value 'green' - at `\$\.cells\[0\]\.outcome`"),
        (first_cell(made="zz"), r"\$\.cells\[0\]\.made"),
        (first_cell(day="today"), r"\$\.cells\[0\]\.day"),
        (first_cell(surprise=1), "unknown field `surprise`"),
    ],
)
def test_damaged_matrix_file_is_named_with_problem_and_fix(
    tmp_path: Path, content: object, what: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UsageError, match=what) as caught:
        read_results(tmp_path, "0.18.0")
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith("correct the file, or remove it: its cells are run again then")
    assert "\n" not in message


def test_a_cut_file_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UsageError, match="truncated"):
        read_all(tmp_path)


def test_a_file_of_no_release_is_damaged(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "nightly")
    with pytest.raises(UsageError, match="nightly is not a release that can be installed"):
        read_all(tmp_path)


def test_results_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"0\.18\.0\.json: cannot be written: "):
        write_results(tmp_path / "file", GOOD)


def test_matrix_file_round_trips_sorted_without_a_temporary_file(tmp_path: Path) -> None:
    write_results(tmp_path, GOOD)
    assert read_results(tmp_path, "0.18.0") == GOOD
    assert [path.name for path in tmp_path.iterdir()] == ["0.18.0.json"]
    again = GOOD.having(cell("aardvark", "unknown")).having(cell("aborts", "unknown"))
    assert [each.scenario for each in again.cells] == ["aardvark", "aborts", "evict-storm"]
