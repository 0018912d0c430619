"""What connector, spec and managers of this process share, since vLLM creates them separately.

The fault runtimes, the states of requests, and the request that the scheduler handles now.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from chaos.hostcopy.generation import detect
from chaos.inside.control import BadControl
from chaos.inside.fault_kind import SCHEDULER, WORKER
from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.inside_kinds import unsupported_kinds
from chaos.inside.request_states import ReportedStates, RequestsOfJobs, RequestStates
from chaos.inside.transfer_audit.provenance_log import ProvenanceLog

CONTROL_KEY = "kvchaos_control"
"""Key of kv_connector_extra_config that names the control directory."""
AUDIT_KEY = "kvchaos_audit"
"""Key that, when true, enables checksums of all copied blocks, and the provenance log."""
LEDGER_KEY = "kvchaos_ledger"
"""Key that, when true, has every transfer recorded, also while no fault is armed; audit mode does so, too."""

_runtimes: dict[str, FaultRuntime] = {}


class SchedulerContext:
    """The request that the scheduler handles now, for managers that do not receive it."""

    request: str | None = None


context = SchedulerContext()
request_states = RequestStates()
requests_of_jobs = RequestsOfJobs()
reported_states = ReportedStates()
"""States of requests: tracked in the scheduler, and reported to the worker."""
within_step: set[str] = set()
"""Requests whose loads must end before the step continues."""
device: list[Any] = []
"""The planes of the KV cache in the worker, once they are known."""


def fault_runtime(role: str, extra_config: Mapping[str, object], generation: str) -> FaultRuntime:
    """The fault runtime of a role, created at first use. Raises BadControl without a control directory."""
    if role not in (SCHEDULER, WORKER):
        raise ValueError(role)
    if role not in _runtimes:
        control = extra_config.get(CONTROL_KEY)
        if not isinstance(control, str):
            raise BadControl(f"kv_connector_extra_config has no {CONTROL_KEY}")
        states_of = request_states.of if role == SCHEDULER else reported_states.of
        audited = extra_config.get(AUDIT_KEY) is True
        provenance = ProvenanceLog(Path(control), role) if audited and role == SCHEDULER else None
        _runtimes[role] = FaultRuntime(
            role,
            Path(control),
            generation,
            states_of,
            unsupported_kinds(),
            provenance,
            ledger=audited or extra_config.get(LEDGER_KEY) is True,
        )
    return _runtimes[role]


@cache
def managers_receive_request_id() -> bool:
    """Whether the installed vLLM passes the request's id in every call of the manager (0.22 on)."""
    api = import_module(detect().offered("OffloadingManager").__module__)
    if not hasattr(api, "ReqContext"):
        return False
    return "req_id" in {field.name for field in dataclasses.fields(api.ReqContext)}


@contextmanager
def request_scope(request: str | None) -> Iterator[None]:
    """Set the current request within the block; none afterwards."""
    context.request = request
    try:
        yield
    finally:
        context.request = None


def tracking_current_request(scheduler_output: Any) -> Any:
    """A scheduler output that sets the current request to the one that the connector looks up.

    To 0.21 the connector goes through the requests of a step one by one: it asks how many tokens one
    gets, then prepares its store.
    """
    noting = copy.copy(scheduler_output)
    noting.num_scheduled_tokens = _Tokens(scheduler_output.num_scheduled_tokens)
    return noting


class _Tokens(dict[str, int]):
    def __getitem__(self, request: str) -> int:
        context.request = request
        return super().__getitem__(request)
