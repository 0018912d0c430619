"""The command line: every wrong use is one line on standard error and exit code 3, never 1 or 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kvchaos import __version__
from kvchaos.cli.app import COMMANDS, run
from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder, runs_folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["server", "nonsense"],
        ["server", "install"],
        ["server", "install", "0.99.0"],
        ["server", "install", "../0.32.0"],
        ["server", "remove", "nothing"],
        ["server", "remove", ".."],
        ["server", "add", "mine"],
        ["server", "add", "mine", "--python", "/nothing/bin/python"],
    ],
)
def test_usage_error_is_one_line_and_exit_code_3(
    cache: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run(arguments) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("kvchaos: ")


@pytest.mark.parametrize("arguments", [[], ["server"]])
def test_incomplete_command_shows_the_help(capfd: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run(arguments) == 3
    shown = capfd.readouterr()
    assert "Usage: kvchaos" in shown.out + shown.err


def test_an_interrupt_is_no_verdict(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kvchaos.cli.setup_commands.examine", interrupted)
    assert run(["doctor"]) == 130


def test_the_module_can_be_run_and_hands_on_the_exit_code() -> None:
    version = subprocess.run([sys.executable, "-m", "kvchaos", "--version"], capture_output=True, text=True)
    wrong = subprocess.run([sys.executable, "-m", "kvchaos", "nonsense"], capture_output=True, text=True)
    assert (version.returncode, version.stdout) == (0, f"kvchaos {__version__}\n")
    assert wrong.returncode == 3


def test_missing_server_names_the_install_command(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["server", "list"]) == 0
    assert "kvchaos server install" in capsys.readouterr().out


def test_long_path_is_not_truncated_without_a_terminal(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    folder = cache / "servers" / "mine"
    folder.mkdir(parents=True)
    python = tmp_path / ("x" * 100) / "bin" / "python"
    (folder / "server.json").write_text(
        f'{{"name": "mine", "kind": "added", "vllm": "0.33.0", "torch": "2", "python": "{python}", '
        '"python_version": "3.12.1", "preload": [], "entry_module": "m"}'
    )
    assert run(["server", "list"]) == 0
    assert str(python) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"KVCHAOS_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/kvchaos"),
        ({"KVCHAOS_CACHE": "", "XDG_CACHE_HOME": "relative"}, str(Path.home() / ".cache/kvchaos")),
    ],
)
def test_cache_folder_follows_the_environment_variable(environ: dict[str, str], expected: str) -> None:
    assert cache_folder(environ) == Path(expected)


@pytest.mark.parametrize("folder", ["/a b", "/a:b", "/a\tb"])
def test_cache_path_unusable_in_ld_preload_is_refused(folder: str) -> None:
    with pytest.raises(UsageError, match="KVCHAOS_CACHE"):
        cache_folder({"KVCHAOS_CACHE": folder})


def test_relative_folders_do_not_follow_later_changes_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cache_folder({"KVCHAOS_CACHE": "here"}) == tmp_path / "here"
    assert runs_folder({"KVCHAOS_RUNS": "there"}) == tmp_path / "there"
    assert runs_folder({}) == tmp_path / "runs"


@pytest.mark.parametrize(
    ("arguments", "needless"),
    [
        (
            ["--version"],
            ["numpy", "pydantic", "docker", "kvchaos.cli.run_command", "kvchaos.cli.judge_command"],
        ),
        (["judge", "--help"], ["docker", "locust", "kvchaos.cli.run_command", "kvchaos.cli.bench_command"]),
    ],
)
def test_command_imports_only_its_own_dependencies(arguments: list[str], needless: list[str]) -> None:
    """`kvchaos --version` took 3 s while every command was imported with it."""
    program = f"import sys; from kvchaos.cli.app import run; run({arguments}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(needless) & set(done.stdout.splitlines()[-1].split())


def test_the_help_lists_every_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capfd.readouterr().out
    assert [name for name in COMMANDS if f" {name} " not in shown] == []
