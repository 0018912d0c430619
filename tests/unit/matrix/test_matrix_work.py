"""Shards are disjoint and complete; digests follow contents, not paths or times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from history.scenario import WorkloadSpec
from kvchaos.errors import UsageError
from kvchaos.matrix.digests import JUDGING, MAKING, WITHOUT, code_digest, digests_of, installed_code
from kvchaos.matrix.filling import Shard, parse_shard, part_of
from kvchaos.paths import beside_packages
from tests.support.fake_matrix import CODE, scenarios


@given(st.lists(st.integers(), unique=True, max_size=60), st.integers(1, 20))
def test_shards_are_disjoint_and_complete(items: list[int], of: int) -> None:
    parts = [part_of(items, Shard(number, of)) for number in range(1, of + 1)]
    assert [item for part in parts for item in part] == items
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["6/5", "0/5", "5", "a/b", "1/0", "-1/5", "1/5/2", ""])
def test_an_impossible_shard_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_shard(text)
    assert "2/5" in str(caught.value)


def test_a_shard_is_read() -> None:
    assert parse_shard("2/5") == Shard(2, 5)


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / "pack" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def test_a_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    write(tmp_path, a="1", b="2")
    first = code_digest(tmp_path, ["pack"])
    (tmp_path / "pack" / "notes.txt").write_text("no code")
    write(tmp_path, a="1")
    assert code_digest(tmp_path, ["pack"]) == first
    write(tmp_path, a="3")
    assert code_digest(tmp_path, ["pack"]) != first
    write(tmp_path, a="2", b="1")
    assert code_digest(tmp_path, ["pack"]) != first


def test_excluded_package_does_not_change_the_digest(tmp_path: Path) -> None:
    write(tmp_path, a="1", b="2")
    first = code_digest(tmp_path, ["pack"], ["pack/b.py"])
    write(tmp_path, b="3")
    assert code_digest(tmp_path, ["pack"], ["pack/b.py"]) == first


def test_digest_of_a_missing_package_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        code_digest(tmp_path, ["pack"])


def test_every_digested_package_is_installed() -> None:
    assert installed_code().making != installed_code().judging
    root = beside_packages(".")
    assert [part for part in (*MAKING, *JUDGING, *WITHOUT) if not (root / part).exists()] == []


def first_party(module: str) -> set[str]:
    """The paths of our own modules that importing one brings."""
    program = f"import sys, {module}; print(*(vars(each).get('__file__') for each in sys.modules.values()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    root = beside_packages(".").resolve()
    paths = [Path(name) for name in done.stdout.split() if name.endswith(".py")]
    return {path.relative_to(root).as_posix() for path in paths if path.is_relative_to(root / "kvchaos")}


def within(path: str, parts: tuple[str, ...]) -> bool:
    return any(path == part or path.startswith(f"{part}/") for part in parts)


def test_judging_digest_covers_all_its_imports() -> None:
    """Reports and messages only show the outcome."""
    shown = ("kvchaos/report", "kvchaos/errors.py", "kvchaos/__init__.py", "kvchaos/bugs/__init__.py")
    left = {path for path in first_party("kvchaos.judging.judge_run") if not within(path, (*JUDGING, *shown))}
    assert left == set()


def test_the_files_of_a_workload_count_by_content_and_not_by_path(tmp_path: Path) -> None:
    (replayed,) = scenarios("trace-replay")

    def having(path: Path) -> str:
        specs = {
            name: WorkloadSpec(kind=spec.kind, params={**spec.params, "path": str(path)})
            if "path" in spec.params
            else spec
            for name, spec in replayed.workloads.items()
        }
        return digests_of(replayed.model_copy(update={"workloads": specs}), "0.18.0", 1, (), CODE).made

    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    one.write_text("1")
    same.write_text("1")
    other.write_text("2")
    assert having(one) == having(same) != having(other)
