"""The oracles, their mutants and their rules, as tables for docs/oracles.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from kvchaos.report.markdown import between, markdown_table
from kvchaos.sight.alterations import ALTERATIONS
from kvchaos.sight.mutants.mutant import Mutant
from kvchaos.sight.mutants.sessions import sessions
from oracles import ORACLES, all_rules

MARK = "<!-- oracles -->"
HEADINGS = ("oracle", "watches that", "reads", "mutants that it must find")
RULES_MARK = "<!-- rules -->"
RULES_HEADINGS = ("rule", "law", "source", "reads", "inconclusive when", "seen broken by")
UNPROVEN = "unproven"


def into_page(page: str) -> str:
    """The page with the tables between their marks. Raises ValueError when a mark is missing."""
    with_rules = between(page, RULES_MARK, markdown_table(RULES_HEADINGS, _rules()))
    return between(with_rules, MARK, markdown_table(HEADINGS, _rows()))


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
            for oracle in dict.fromkeys(kill.oracle for kill in mutant.kills):
                found[oracle].append(mutant)
    return found


def proofs() -> dict[str, list[str]]:
    """By the id of each rule what breaks it: mutants of live traffic, alterations of a history."""
    found: dict[str, list[str]] = {rule.id: [] for rule in all_rules()}
    for session in sessions():
        for mutant in session.mutants:
            for kill in mutant.kills:
                if kill.rule is not None:
                    found[kill.rule].append(f"`{mutant.name}`")
    for alteration in ALTERATIONS:
        found[alteration.rule.id].append(f"altered: {alteration.what}")
    return found


def _rules() -> Iterator[Sequence[str]]:
    seen = proofs()
    for rule in all_rules():
        by = "<br>".join(seen[rule.id]) or UNPROVEN
        yield f"`{rule.id}`", rule.law, rule.source, ", ".join(rule.reads), rule.inconclusive, by
