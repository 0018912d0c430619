"""The commands of pages in Markdown: whole ones in code blocks, and mentions of a command within a line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import NamedTuple

PROGRAMS = frozenset({"kvchaos", "make", "pytest", "python"})
SHELL = frozenset({"&&", "||", "|", ">", ">>", "&", ";"})
"""The rest of a line after one of these is another command, or none of ours."""
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_VARIABLE = re.compile(r"[A-Z_]+=.*")
_LEADERS = frozenset({"ssh", "sudo", "uv", "docker"})
"""Programs that start another one."""


class PageCommand(NamedTuple):
    """One call of a program on a page."""

    program: str
    """One of PROGRAMS."""
    arguments: tuple[str, ...]
    whole: bool
    """It can be typed as it is; a mention within a line may lack arguments."""

    def __str__(self) -> str:
        return shlex.join((self.program, *self.arguments))


def page_commands(page: str) -> list[PageCommand]:
    """All calls of our programs on a page, in order, those in code blocks first."""
    code, prose = _code_and_prose(page)
    blocks = [
        call for line in "\n".join(code).replace("\\\n", " ").splitlines() for call in _calls(line, True)
    ]
    return blocks + [call for line in prose for span in _SPAN.findall(line) for call in _calls(span, False)]


def _code_and_prose(page: str) -> tuple[list[str], list[str]]:
    """The lines of code blocks, fenced or indented, and all others."""
    code: list[str] = []
    prose: list[str] = []
    fenced = in_list = False
    for line in page.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or (line.startswith("    ") and not in_list):
            code.append(line)
        else:
            prose.append(line)
            if line.strip():
                in_list = bool(re.match(r"\s*([-*]|\d+\.) ", line)) or (in_list and line[0].isspace())
    return code, prose


def _calls(line: str, whole: bool) -> Iterator[PageCommand]:
    """The first call of a program of ours in a line of code."""
    try:
        tokens = shlex.split(line, comments=True)
    except ValueError:
        return
    for index, token in enumerate(tokens):
        program = PurePath(token).name
        if program in PROGRAMS and _only_start(tokens[:index]):
            arguments = tokens[index + 1 :]
            end = next((at for at, each in enumerate(arguments) if each in SHELL), len(arguments))
            yield PageCommand(program, tuple(arguments[:end]), whole)
            return


def _only_start(tokens: Sequence[str]) -> bool:
    """Whether these words before a program only set variables or start it, as `uv run` does."""
    words = [token for token in tokens if not _VARIABLE.fullmatch(token)]
    return not words or words[0] in _LEADERS
