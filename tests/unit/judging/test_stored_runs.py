"""A run of another machine and another day is judged alike here: nothing but its files counts.

The runs in tests/data were made with real servers; paths of the machine are replaced in them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from history import layout
from kvchaos.judging.judge_run import judge_run_dir
from tests.support.stored import DATA, unpack

RUNS = sorted(DATA.glob("*.tar.xz"))


def test_stored_runs_are_found() -> None:
    names = [path.name.removesuffix(".tar.xz") for path in RUNS]
    assert names == ["green-of-version-2", "green", "hang", "wrong-answers"]


@pytest.mark.parametrize("archive", RUNS, ids=lambda path: path.name)
def test_stored_run_is_judged_independently_of_the_machine(archive: Path, tmp_path: Path) -> None:
    run_dir = unpack(archive, tmp_path)
    stored = (run_dir / layout.VERDICT).read_text(encoding="utf-8")
    judge_run_dir(run_dir)
    assert (run_dir / layout.VERDICT).read_text(encoding="utf-8") == stored
