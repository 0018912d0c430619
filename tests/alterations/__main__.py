"""Alter stored runs in every known way, and see which rule notices it.

    python -m tests.alterations --list
    python -m tests.alterations --run requests/lost
    python -m tests.alterations              # all kinds; a table of how they were noticed

Exit code 0 when each kind was noticed by its rule or is listed as blind, 1 otherwise, 3 for an unknown name.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from tests.alterations.corpus import KINDS
from tests.alterations.judged import Applied, apply, run_names
from tests.alterations.kind import Kind

COLUMNS = ("right rule", "another rule", "unknown", "refused", "masked", "not noticed")


def main(arguments: Sequence[str]) -> int:
    """Run the command line; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.alterations")
    parser.add_argument("--list", action="store_true", help="print the kinds, and what must notice them")
    parser.add_argument("--run", metavar="NAME", help="one kind, or all whose name begins so")
    parser.add_argument("--runs", type=int, default=1, help="apply each kind to so many stored runs")
    options = parser.parse_args(arguments)
    kinds = _chosen(options.run)
    if not kinds:
        sys.stderr.write(f"no kind is named {options.run}; --list prints the names\n")
        return 3
    if options.list:
        for kind in kinds:
            _print_row(f"{kind.name}: {kind.what}; {_status(kind)}")
        return 0
    return _measure(kinds, options.runs)


def _chosen(name: str | None) -> list[Kind]:
    if name in KINDS:
        return [KINDS[name]]
    return [kind for kind in KINDS.values() if kind.name.startswith(name or "")]


def _status(kind: Kind) -> str:
    if kind.unnoticeable is not None:
        return f"nobody could notice it: {kind.unnoticeable}"
    expects = " or ".join(kind.expects)
    return f"{expects}, not noticed yet: {kind.blind}" if kind.blind is not None else expects


def _measure(kinds: Sequence[Kind], runs: int) -> int:
    table: dict[str, Counter[str]] = {}
    surprises = 0
    killed_by: list[str] = []
    for kind in kinds:
        applications = list(apply(kind, runs))
        if kind.blind is not None and applications and all(each.right for each in applications):
            killed_by.append(kind.name)
        for applied in applications:
            surprises += _is_surprise(applied)
            table.setdefault(_row(kind), Counter())[applied.notice] += 1
            _print_row(f"{applied.notice}\t{kind.name}\t{applied.run}\t{applied.evidence}")
    _print_row()
    _print_row("\t".join(("part", *COLUMNS)))
    for row, counts in table.items():
        _print_row("\t".join((row, *(str(counts[column]) for column in COLUMNS))))
    total = sum(table.values(), Counter[str]())
    _print_row("\t".join(("all", *(str(total[column]) for column in COLUMNS))))
    _print_row(f"{len(kinds)} kinds, {len(run_names())} stored runs, {total.total()} applications")
    _print_row(
        f"{surprises} applications were not noticed by the rule, though their kind is not listed as blind"
    )
    for name in killed_by:
        _print_row(f"noticed, though listed as blind: {name}")
    return 1 if surprises else 0


def _row(kind: Kind) -> str:
    part = kind.name.partition("/")[0]
    return f"{part}, nobody could" if kind.unnoticeable is not None else part


def _is_surprise(applied: Applied) -> bool:
    kind = applied.kind
    return not applied.right and kind.blind is None and kind.unnoticeable is None


def _print_row(*cells: object) -> None:
    sys.stdout.write("\t".join(str(cell) for cell in cells) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
