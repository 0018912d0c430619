"""Edits of the records of a passing run, for the rules that no mutant of live traffic violates."""

from __future__ import annotations

from kvchaos.selftest.alterations import (
    event_alterations,
    law_alterations,
    metric_alterations,
    request_alterations,
    server_alterations,
)
from oracles import ORACLES
from oracles.findings import Alteration

ALTERATIONS: tuple[Alteration, ...] = (
    *event_alterations.ALTERATIONS,
    *request_alterations.ALTERATIONS,
    *metric_alterations.ALTERATIONS,
    *law_alterations.ALTERATIONS,
    *server_alterations.ALTERATIONS,
    *(alteration for oracle in ORACLES for alteration in oracle.alterations),
)
