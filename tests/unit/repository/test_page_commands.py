"""The commands on the pages: quick ones run, and the real command line parses the arguments of all others."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import typer.core

from benchmarks.verdict_image import EXAMPLE
from kvchaos.cli.app import run as command_line
from tests.support.page_commands import PageCommand, page_commands
from tests.support.source_tree import ROOT

QUICK = (
    "kvchaos --version",
    "kvchaos bugs",
    "kvchaos bugs vllm-36533",
    "kvchaos bugs --page docs/known-bugs.md",
    "kvchaos faults",
    "kvchaos faults --page docs/faults.md",
    "kvchaos oracles",
    "kvchaos oracles --rules",
    "kvchaos oracles --page docs/oracles.md",
    "kvchaos matrix --help",
    "kvchaos matrix --page docs/releases.md --page-only",
    "kvchaos server list",
    "kvchaos judge RUN_DIR",
    "kvchaos reseal RUN_DIR",
)
"""Commands that take less than a minute without a server. `make demo` judges a copy of the example, too."""
UNFINISHED = re.compile(r"|.*Missing (argument|option).*", re.DOTALL)
"""What the command line prints for a mention without its arguments; nothing where it shows the help."""
PLACEHOLDER = re.compile(r"[A-Z_]{2,}(\.\.\.)?|.*\.\.\.")
Parse = Callable[[PageCommand], str | None]


def pages() -> dict[str, str]:
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(paths)
        if path.name != "CHANGELOG.md"  # it has the names of earlier versions
    }


ON_PAGES: Mapping[PageCommand, str] = {
    command: name for name, page in pages().items() for command in page_commands(page)
}
"""Each command with one of its pages."""


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Parse:
    """Returns what is wrong with a command; None when the command line takes it. Executes nothing."""
    monkeypatch.setattr(typer.core.TyperCommand, "invoke", lambda self, context: None, raising=False)

    def problem(command: PageCommand) -> str | None:
        code = command_line(command.arguments)
        printed = capsys.readouterr().err
        fine = code == 0 or (not command.whole and UNFINISHED.fullmatch(printed))
        return None if fine else printed

    return problem


def problem_of_make(command: PageCommand) -> str | None:
    """A target or a variable that the Makefile has not."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for argument in command.arguments:
        name, equals, _ = argument.partition("=")
        known = (
            f"$({name}" in makefile or f"$${{{name}:" in makefile
            if equals
            else re.search(rf"^{name}:", makefile, re.MULTILINE)
        )
        if not known and not PLACEHOLDER.fullmatch(argument):
            return f"the Makefile has no {argument}"
    return None


def problem_of_python(command: PageCommand) -> str | None:
    """A module or an option that does not exist."""
    if command.arguments[:1] != ("-m",):
        return None
    name, *rest = command.arguments[1:]
    path = ROOT / name.replace(".", "/")
    files = [*path.rglob("*.py")] if (path / "__main__.py").exists() else [path.with_suffix(".py")]
    if not files[0].exists():
        return f"there is no module {name}"
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    missing = [option for option in rest if option.startswith("--") and f'"{option}"' not in text]
    return f"{name} has no {missing[0]}" if missing else None


def problem_of_pytest(command: PageCommand) -> str | None:
    """A path that does not exist."""
    missing = [each for each in command.arguments if each.startswith("tests/") and not (ROOT / each).exists()]
    return f"there is no {missing[0]}" if missing else None


OTHERS = {"make": problem_of_make, "python": problem_of_python, "pytest": problem_of_pytest}


def test_command_line_takes_every_command_of_the_pages(parse: Parse) -> None:
    wrong = {
        f"{page}: {command}": problem
        for command, page in ON_PAGES.items()
        if (problem := OTHERS.get(command.program, parse)(command)) is not None
    }
    assert wrong == {}


@pytest.mark.parametrize(
    "line",
    [
        "kvchaos run baseline-offload --sever 0.32.0",
        "kvchaos run baseline-offload --workers many",
        "kvchaos rnu baseline-offload",
        "kvchaos server add nightly",
        "kvchaos run --join 5557",
        "make chaos VLM=0.18.0",
        "make caos",
        "uv run python -m tests.fuzzy --mutants 10",
        "python -m tests.fuzz --mutant 10",
        ".venv/bin/pytest tests/unit/history/test_nothing.py",
    ],
)
def test_wrong_command_on_a_page_is_found(parse: Parse, line: str) -> None:
    (command,) = page_commands(f"Text.\n\n    {line}     # a comment\n")
    assert OTHERS.get(command.program, parse)(command) is not None


@pytest.mark.parametrize("span", ["kvchaos run --sever 0.32.0", "kvchaos rnu", "make caos"])
def test_wrong_mention_within_a_line_is_found(parse: Parse, span: str) -> None:
    (command,) = page_commands(f"Use `{span}` for that.\n")
    assert OTHERS.get(command.program, parse)(command) is not None


def test_fenced_block_and_program_behind_variables_are_read() -> None:
    page = "```sh\nCI=true kvchaos doctor && ls\nssh HOST kvchaos worker --once\n```\n"
    assert [str(command) for command in page_commands(page)] == ["kvchaos doctor", "kvchaos worker --once"]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with copies of what the quick commands read and write."""
    for name in ("docs", "matrix"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copytree(EXAMPLE, tmp_path / "RUN_DIR")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KVCHAOS_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("text", QUICK)
def test_quick_command_of_a_page_runs(workplace: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = {command for command in ON_PAGES if str(command) == text and command.whole} or {
        command for command in ON_PAGES if str(command) == text
    }
    assert command_line(command.arguments) == 0, capsys.readouterr().err
    changed = [
        page for page in (workplace / "docs").glob("*.md") if page.read_text() != pages()[f"docs/{page.name}"]
    ]
    assert changed == []
