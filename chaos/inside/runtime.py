"""The engines of this process. vLLM builds connector and spec separately; they meet here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaos.inside.control import BadControl
from chaos.inside.engine import FaultEngine
from chaos.inside.jobs import RequestsOfJobs
from chaos.inside.kind import SCHEDULER, WORKER
from chaos.inside.ledger.provenance import ProvenanceLog
from chaos.inside.reach import unreachable
from chaos.inside.states import RequestStates, ToldStates

CONTROL_KEY = "kvchaos_control"
"""Key of kv_connector_extra_config that names the control directory."""
AUDIT_KEY = "kvchaos_audit"
"""Key that, when true, asks for checksums of all blocks copied, and for the provenance log."""

_engines: dict[str, FaultEngine] = {}


class SchedulerContext:
    """The request whose turn it is in the scheduler, for managers that are not told."""

    request: str | None = None


context = SchedulerContext()
request_states = RequestStates()
"""Of the scheduler."""
requests_of_jobs = RequestsOfJobs()
told_states = ToldStates()
within_step: set[str] = set()
"""Requests whose loads must be done before the step goes on."""
device: list[Any] = []
"""The planes of the KV cache, once they are known."""
"""Of the worker."""


def engine(role: str, extra_config: Mapping[str, object], generation: str) -> FaultEngine:
    """The engine of a role, made at first use. Raises BadControl when no control directory is named."""
    if role not in (SCHEDULER, WORKER):
        raise ValueError(role)
    if role not in _engines:
        control = extra_config.get(CONTROL_KEY)
        if not isinstance(control, str):
            raise BadControl(f"kv_connector_extra_config has no {CONTROL_KEY}")
        states_of = request_states.of if role == SCHEDULER else told_states.of
        audited = role == SCHEDULER and extra_config.get(AUDIT_KEY) is True
        provenance = ProvenanceLog(Path(control), role) if audited else None
        _engines[role] = FaultEngine(role, Path(control), generation, states_of, unreachable(), provenance)
    return _engines[role]
