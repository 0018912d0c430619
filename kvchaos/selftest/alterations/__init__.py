"""Alterations of the history of a green run: each breaks a rule that no mutant of live traffic breaks."""

from __future__ import annotations

from kvchaos.selftest.alterations import (
    answer_alterations,
    event_alterations,
    fault_alterations,
    law_alterations,
    ledger_alterations,
    log_alterations,
    metric_alterations,
    request_alterations,
    resource_alterations,
)
from kvchaos.selftest.alterations.alteration import Alteration

ALTERATIONS: tuple[Alteration, ...] = (
    *event_alterations.ALTERATIONS,
    *log_alterations.ALTERATIONS,
    *request_alterations.ALTERATIONS,
    *metric_alterations.ALTERATIONS,
    *law_alterations.ALTERATIONS,
    *answer_alterations.ALTERATIONS,
    *resource_alterations.ALTERATIONS,
    *ledger_alterations.ALTERATIONS,
    *fault_alterations.ALTERATIONS,
)
