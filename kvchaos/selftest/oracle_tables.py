"""The oracles, their mutants, their rules and the metric families, as tables for docs/oracles.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from kvchaos.report.markdown import markdown_table, replace_between
from kvchaos.selftest.alterations import ALTERATIONS
from kvchaos.selftest.mutants.mutant import Mutant
from kvchaos.selftest.mutants.sessions import sessions
from oracles import ORACLES, all_rules
from oracles.laws.families import BOUND, REASONS

MARK = "<!-- oracles -->"
HEADINGS = ("oracle", "watches that", "reads", "mutants that it must find")
RULES_MARK = "<!-- rules -->"
RULES_HEADINGS = ("rule", "law", "source", "reads", "inconclusive when", "seen broken by")
FAMILIES_MARK = "<!-- families -->"
FAMILIES_HEADINGS = ("metric family", "laws, or why there is none of its own")
UNPROVEN = "unproven"


def insert_tables(page: str) -> str:
    """The page with the tables between their marks. Raises ValueError when a mark is missing."""
    for mark, headings, rows in (
        (MARK, HEADINGS, _rows()),
        (RULES_MARK, RULES_HEADINGS, _rules()),
        (FAMILIES_MARK, FAMILIES_HEADINGS, _families()),
    ):
        page = replace_between(page, mark, markdown_table(headings, rows))
    return page


def _rows() -> Iterator[Sequence[str]]:
    by_oracle = mutants_by_oracle()
    for oracle in ORACLES:
        mutants = [f"`{mutant.name}`: {mutant.what}" for mutant in by_oracle[oracle.name]]
        yield f"`{oracle.name}`", oracle.purpose, ", ".join(oracle.reads), "<br>".join(mutants)


def mutants_by_oracle() -> dict[str, list[Mutant]]:
    """Those that each oracle must find."""
    found: dict[str, list[Mutant]] = defaultdict(list)
    for session in sessions():
        for mutant in session.mutants:
            for oracle in dict.fromkeys(kill.oracle for kill in mutant.kills):
                found[oracle].append(mutant)
    return found


def kills_by_rule() -> dict[str, list[str]]:
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
    evidence = kills_by_rule()
    for rule in all_rules():
        broken_by = "<br>".join(evidence[rule.id]) or UNPROVEN
        yield f"`{rule.id}`", rule.law, rule.source, ", ".join(rule.reads), rule.inconclusive, broken_by


def _families() -> Iterator[Sequence[str]]:
    for name in sorted(BOUND.keys() | REASONS.keys()):
        laws = ", ".join(f"`{rule}`" for rule in BOUND.get(name, ()))
        yield f"`{name}`", "; ".join(filter(None, (laws, REASONS.get(name, ""))))
