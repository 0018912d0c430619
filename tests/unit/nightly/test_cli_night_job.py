"""`kvchaos nightly job`: its steps are commands that exist, and it ends with files and an exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import typer.core

from kvchaos.cli.app import run as command_line
from kvchaos.cli.night_job_command import run_kvchaos
from kvchaos.nightly.job.night_job import JobSettings, job_steps

SETTINGS = JobSettings(
    file=Path("examples/nightly.yaml"),
    candidate="0.32.0",
    control="0.31.0",
    budget="20m",
    history=Path("nights"),
    runs=Path("runs"),
    out=Path("out"),
)


def test_command_line_takes_every_step_of_a_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(typer.core.TyperCommand, "invoke", lambda self, context: None, raising=False)
    for step in job_steps(SETTINGS):
        assert command_line(step.arguments) == 0, capsys.readouterr().err


def test_job_with_an_unknown_build_ends_with_its_category(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    out, history = tmp_path / "out", tmp_path / "nights"
    arguments = ["nightly", "job", "nightly.yaml", "--candidate", "unknown", "--control", "unknown"]
    assert command_line([*arguments, "--history", str(history), "--out", str(out)]) == 3
    assert json.loads((out / "outcome.json").read_text())["category"] == "install"
    assert "failure-category=install" in (tmp_path / "outputs").read_text().splitlines()


def test_exit_code_of_a_command_is_that_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_kvchaos(["--version"]) == 0
    assert run_kvchaos(["no-such-command"]) == 3
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert run_kvchaos([]) == 1
