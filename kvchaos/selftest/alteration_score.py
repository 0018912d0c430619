"""Judge alterations of the history of a green run. Pure, and so fast that all are tried."""

from __future__ import annotations

from collections.abc import Sequence

from history.reader import History
from history.verdict import Finding
from kvchaos.selftest.alterations import ALTERATIONS
from kvchaos.selftest.alterations.alteration import Alteration
from kvchaos.selftest.kill_matrix import KillResult, SessionScore
from oracles import ORACLES
from oracles.views.timeline import release

NAME = "altered"
JUDGES = {oracle.name: oracle.judge for oracle in ORACLES}


def score_alterations(history: History, alterations: Sequence[Alteration] = ALTERATIONS) -> SessionScore:
    """Apply each alteration to the history of a green run, and check that its rule is reported broken."""
    known = [alteration for alteration in alterations if release(history) >= alteration.since]
    return SessionScore(NAME, tuple(_row(history, alteration) for alteration in known), ())


def _row(history: History, alteration: Alteration) -> KillResult:
    rule = alteration.rule
    result = JUDGES[rule.oracle](alteration.alter(history))
    finding: Finding | None = next((each for each in result.findings if each.rule == rule.id), None)
    evidence = f"{result.verdict}: {result.summary}" if finding is None else finding.text
    return KillResult(rule.id, NAME, alteration.what, finding is not None, evidence)
