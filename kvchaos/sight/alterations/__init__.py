"""Alterations of the history of a green run: each breaks a rule that no mutant of live traffic breaks."""

from __future__ import annotations

from kvchaos.sight.alterations import (
    answers,
    client_records,
    events,
    faults,
    laws,
    ledgers,
    logs,
    metrics,
    resources,
)
from kvchaos.sight.alterations.alteration import Alteration

ALTERATIONS: tuple[Alteration, ...] = (
    *events.ALTERATIONS,
    *logs.ALTERATIONS,
    *client_records.ALTERATIONS,
    *metrics.ALTERATIONS,
    *laws.ALTERATIONS,
    *answers.ALTERATIONS,
    *resources.ALTERATIONS,
    *ledgers.ALTERATIONS,
    *faults.ALTERATIONS,
)
