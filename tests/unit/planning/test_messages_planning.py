"""What is said where no run directory can be made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.planning import run_plan
from kvchaos.planning.run_plan import make_run_dir


def test_existing_run_directory_is_never_reused(tmp_path: Path) -> None:
    (tmp_path / "run-1").mkdir()
    with pytest.raises(UsageError, match=r"run-1: cannot be created: File exists"):
        make_run_dir(tmp_path, "run-1")


def test_nearly_full_disk_is_refused_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = os.statvfs(tmp_path)
    few = (run_plan.NEEDED_BYTES - 1) // there.f_frsize
    nearly_full = os.statvfs_result((*there[:4], few, *there[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: nearly_full)
    with pytest.raises(UsageError, match="less than 200 MiB free; free disk space, or set KVCHAOS_RUNS"):
        make_run_dir(tmp_path, "run-1")
    assert list(tmp_path.iterdir()) == []


def test_unusable_runs_folder_is_named_with_its_variable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for runs in (tmp_path / "file", Path("/proc/kvchaos-runs")):
        with pytest.raises(UsageError, match=r"cannot be created: .*; set KVCHAOS_RUNS to another") as caught:
            make_run_dir(runs, "run-1")
        assert str(caught.value).startswith(f"{runs}/run-1: ")
