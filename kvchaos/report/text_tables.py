"""Tables as text: in Markdown with their insertion into a page, and on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kvchaos.errors import UsageError

END_MARK = "<!-- end -->"


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Headings and rows as lines; the cells are taken as they are."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell_text(text: str) -> str:
    """Text made safe for one cell of a Markdown table, or one item of a list."""
    flat = " ".join(text.split())
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("`", "\\`")):
        flat = flat.replace(char, entity)
    return flat


def replace_between(page: str, mark: str, content: str) -> str:
    """The page with new content between a mark and the next END_MARK. Raises ValueError without them."""
    before, found, rest = page.partition(f"{mark}\n")
    _, end, after = rest.partition(f"{END_MARK}\n")
    if not found or not end:
        raise ValueError(f"no {mark} with an {END_MARK} in the page")
    return f"{before}{mark}\n{content}{END_MARK}\n{after}"


def update_page(path: Path, change: Callable[[str], str]) -> None:
    """Rewrite a page with a function that raises ValueError for a page it cannot use. Raises UsageError."""
    try:
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


WIDTH_WITHOUT_TERMINAL = 500


def plain_table(*headers: str) -> Table:
    """A table without lines; long cells go on in the next line."""
    table = Table(box=None, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def print_table(table: Table) -> None:
    """Print to standard output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    console.print(table)
