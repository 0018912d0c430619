"""The oracles and their mutants, as a table for docs/oracles.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from kvchaos.report.markdown import between, markdown_table
from kvchaos.sight.mutants.mutant import Mutant
from kvchaos.sight.mutants.sessions import sessions
from oracles import ORACLES

MARK = "<!-- oracles -->"
HEADINGS = ("oracle", "watches that", "reads", "mutants that it must find")


def into_page(page: str) -> str:
    """The page with the table between its marks. Raises ValueError when a mark is missing."""
    return between(page, MARK, markdown_table(HEADINGS, _rows()))


def _rows() -> Iterator[Sequence[str]]:
    by_oracle = mutants_by_oracle()
    for oracle in ORACLES:
        told = [f"`{mutant.name}`: {mutant.what}" for mutant in by_oracle[oracle.name]]
        yield f"`{oracle.name}`", oracle.purpose, ", ".join(oracle.reads), "<br>".join(told)


def mutants_by_oracle() -> dict[str, list[Mutant]]:
    """Those that each oracle must find."""
    found: dict[str, list[Mutant]] = defaultdict(list)
    for session in sessions():
        for mutant in session.mutants:
            for oracle in mutant.kills:
                found[oracle].append(mutant)
    return found
