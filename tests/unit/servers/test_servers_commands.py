"""Running programs: what they say must not be lost, and what they hold must be kept from others."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest
from rich.console import Console

from kvchaos.servers.installation import CommandFailed, PlainProgress, Runner, exclusive
from tests.support.fake_programs import RecordedProgress


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(RecordedProgress(), tmp_path, tmp_path / "log")


def test_output_and_errors_reach_log_progress_and_caller(runner: Runner, tmp_path: Path) -> None:
    lines = runner.run(["sh", "-c", "echo one; echo two >&2"], {})
    assert lines == ["one", "two"]
    assert isinstance(runner.progress, RecordedProgress)
    assert runner.progress.details == ["one", "two"]
    command, *output = (tmp_path / "log").read_text().splitlines()
    assert command.startswith("$ sh -c ")
    assert output == ["one", "two"]


def test_a_second_program_does_not_wipe_the_log_of_the_first(runner: Runner, tmp_path: Path) -> None:
    runner.run(["echo", "first"], {})
    runner.run(["echo", "second"], {})
    assert "first\n" in (tmp_path / "log").read_text()


def test_failed_command_has_exit_code_and_last_output(runner: Runner) -> None:
    with pytest.raises(CommandFailed, match=r"code 7: .*reason") as caught:
        runner.run(["sh", "-c", "echo the reason; echo; exit 7"], {})
    assert (caught.value.code, caught.value.last_line) == (7, "the reason")


def test_missing_program_is_an_error(runner: Runner, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=os.strerror(errno.ENOENT)):
        runner.run([tmp_path / "gone"], {})


def test_programs_run_in_the_works_folder_with_that_environment_only(runner: Runner, tmp_path: Path) -> None:
    assert runner.run(["/bin/sh", "-c", "pwd; echo $ONE"], {"ONE": "1"}) == [str(tmp_path), "1"]


def test_child_process_keeps_the_lock_until_it_exits(tmp_path: Path) -> None:
    """Only an inherited lock outlives a killed command."""
    with exclusive(tmp_path / "lock", lambda: None) as lock:
        runner = Runner(RecordedProgress(), tmp_path, tmp_path / "log", lock)
        assert runner.run(["readlink", f"/proc/self/fd/{lock}"], {}) == [str(tmp_path / "lock")]
        without = Runner(RecordedProgress(), tmp_path, tmp_path / "log")
        with pytest.raises(CommandFailed):
            without.run(["readlink", f"/proc/self/fd/{lock}"], {})
        assert fcntl.fcntl(lock, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_brackets_in_output_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """`[x]` is markup to the console; a package named pkg[extra] must not lose its extra."""
    PlainProgress(Console()).detail("Building pkg[extra]")
    PlainProgress(Console()).detail(" + other==1.0")
    assert capsys.readouterr().out == "  Building pkg[extra]\n"
