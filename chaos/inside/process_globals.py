"""The fault runtimes of this process. vLLM creates connector and spec separately; both use these."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaos.inside.control import BadControl
from chaos.inside.fault_kind import SCHEDULER, WORKER
from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.request_states import ReportedStates, RequestStates
from chaos.inside.requests_of_jobs import RequestsOfJobs
from chaos.inside.transfer_audit.provenance_log import ProvenanceLog
from chaos.inside.unsupported_kinds import unsupported_kinds

CONTROL_KEY = "kvchaos_control"
"""Key of kv_connector_extra_config that names the control directory."""
AUDIT_KEY = "kvchaos_audit"
"""Key that, when true, enables checksums of all copied blocks, and the provenance log."""

_runtimes: dict[str, FaultRuntime] = {}


class SchedulerContext:
    """The request that the scheduler handles now, for managers that do not receive it."""

    request: str | None = None


context = SchedulerContext()
request_states = RequestStates()
"""Of the scheduler."""
requests_of_jobs = RequestsOfJobs()
reported_states = ReportedStates()
within_step: set[str] = set()
"""Requests whose loads must be done before the step goes on."""
device: list[Any] = []
"""The planes of the KV cache, once they are known."""
"""Of the worker."""


def fault_runtime(role: str, extra_config: Mapping[str, object], generation: str) -> FaultRuntime:
    """The fault runtime of a role, created at first use. Raises BadControl without a control directory."""
    if role not in (SCHEDULER, WORKER):
        raise ValueError(role)
    if role not in _runtimes:
        control = extra_config.get(CONTROL_KEY)
        if not isinstance(control, str):
            raise BadControl(f"kv_connector_extra_config has no {CONTROL_KEY}")
        states_of = request_states.of if role == SCHEDULER else reported_states.of
        audited = role == SCHEDULER and extra_config.get(AUDIT_KEY) is True
        provenance = ProvenanceLog(Path(control), role) if audited else None
        _runtimes[role] = FaultRuntime(
            role, Path(control), generation, states_of, unsupported_kinds(), provenance
        )
    return _runtimes[role]
