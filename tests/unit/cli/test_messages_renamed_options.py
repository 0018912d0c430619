"""An option by its old name is one line that names the new one, with exit code 3."""

from __future__ import annotations

import pytest
import typer

from kvchaos.cli.app import application
from kvchaos.cli.app import run as command_line
from kvchaos.cli.renamed_options import RENAMED_OPTIONS

RENAMED = [
    (command, old, new) for command, renamed in RENAMED_OPTIONS.items() for old, new in renamed.items()
]


def options_of(command: tuple[str, ...]) -> set[str]:
    """All options that a command has."""
    found = typer.main.get_command(application(command))
    for name in command:
        commands = getattr(found, "commands", None)
        found = found if commands is None else commands[name]
    return {option for parameter in found.params for option in parameter.opts}


@pytest.mark.parametrize(("command", "old", "new"), RENAMED)
def test_old_option_is_one_line_with_the_new_name(
    command: tuple[str, ...], old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in ([old, "9"], [f"{old}=9"]):
        assert command_line([*command, *given]) == 3
        shown = capsys.readouterr()
        assert (shown.out, shown.err) == ("", f"kvchaos: {' '.join(command)} {old}: is named {new} now\n")


@pytest.mark.parametrize(("command", "old", "new"), RENAMED)
def test_new_option_replaces_the_old_one(command: tuple[str, ...], old: str, new: str) -> None:
    options = options_of(command)
    assert new in options
    assert old not in options


def test_argument_after_two_dashes_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["run", "--", "--join"]) == 3
    assert "is named" not in capsys.readouterr().err
