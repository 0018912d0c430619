"""The command `kvchaos bugs`: the known bugs of the servers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvchaos.bugs.bug_catalogue import find_bug, known_bugs
from kvchaos.bugs.bug_pages import HEADINGS, bug_lines, insert_table, rows
from kvchaos.report.text_tables import plain_table, print_table, update_page


def bugs_command(
    bug: Annotated[str | None, typer.Argument(help="Show this bug only, such as vllm-36533.")] = None,
    page: Annotated[Path | None, typer.Option(help="Update the table in this page; print nothing.")] = None,
) -> None:
    """List the known bugs of vLLM's releases, or show one and the command that reproduces it."""
    bugs = known_bugs()
    if page is not None:
        update_page(page, lambda text: insert_table(text, bugs))
    elif bug is not None:
        for line in bug_lines(find_bug(bug, bugs)):
            typer.echo(line)
    else:
        table = plain_table(*HEADINGS)
        for row in rows(bugs):
            table.add_row(*row)
        print_table(table)
