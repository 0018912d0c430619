"""The table of proofs in the page about them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from packaging.version import Version

from chaos.inside.inside_kinds import KINDS
from history.reader import UnreadableRun, read_history
from kvchaos.report.text_tables import markdown_table, replace_between
from tests.server.proof.cases import PREFIX
from tests.server.proof.evidence import Shown, shown

MARK = "<!-- proof -->"
HEADINGS = (
    "fault",
    "variant",
    "vLLM",
    "armed",
    "fired",
    "what was seen",
    "healed",
    "server",
    "faults-fired",
)


def gather(runs: Path) -> list[Shown]:
    """The newest readable row of each case and release in a folder, in the order of the catalogue."""
    newest: dict[tuple[str, str], Shown] = {}
    for run_dir in sorted(runs.glob(f"{PREFIX}*")):
        try:
            history = read_history(run_dir)
        except UnreadableRun:
            continue
        for row in shown(history):
            key = (row.case.name, row.release)
            if key not in newest or newest[key].created < row.created:
                newest[key] = row
    return sorted(newest.values(), key=_sort_key)


def into_page(page: str, rows: Iterable[Shown]) -> str:
    """The page with the table between its marks. Raises ValueError when a mark is missing."""
    return replace_between(page, MARK, _table(list(rows)))


def _sort_key(row: Shown) -> tuple[int, str, Version]:
    """The order of rows: fault kind, variant, release."""
    return list(KINDS).index(row.case.kind), row.case.variant or "", Version(row.release)


def _table(rows: list[Shown]) -> str:
    """The table in Markdown, with the number of proofs and their days."""
    days = sorted({row.created[:10] for row in rows})
    table = markdown_table(HEADINGS, map(_cells, rows))
    proved = sum(row.consequential for row in rows)
    return f"Seen in {proved} of {len(rows)}; {' to '.join(days[:1] + days[1:][-1:])}.\n\n{table}"


def _cells(row: Shown) -> tuple[str, ...]:
    """The cells of one row."""
    evidence = row.evidence if row.consequential else f"**not seen**: {row.evidence}"
    return (
        f"`{row.case.kind}`",
        row.case.variant or "",
        row.release,
        "yes" if row.armed else "no",
        f"{row.fired}, {row.refused} refused" if row.refused else str(row.fired),
        evidence.replace("|", "/"),
        "yes" if row.healed else "no",
        row.server,
        row.verdict.value,
    )
