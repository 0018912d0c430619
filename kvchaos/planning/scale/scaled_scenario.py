"""A scenario with lengths and width multiplied. Pure.

Phases, workloads, faults and server settings scale together, so that the pressure stays.
"""

from __future__ import annotations

from collections.abc import Mapping

from history.phase_spec import (
    Arrivals,
    Bursts,
    Closed,
    Constant,
    Gamma,
    PhaseSpec,
    Poisson,
    Ramp,
    Recorded,
    Steps,
)
from history.protocol.schedule import Value
from history.scenario import FaultSpec, Limits, Scenario, ServerSettings, WorkloadSpec
from kvchaos.errors import UsageError
from kvchaos.stacks.server_command import KEPT_BLOCKS
from loadtests.workloads import KINDS
from loadtests.workloads.dimensions import LENGTH, WIDTH, Dimension, Factors, dimensions, scaled_params

MOST_CLIENTS = 1_000
MOST_REQUEST_S = 900.0
READY_S = 900.0
"""A large model loads its weights, and captures CUDA graphs."""
FAULT_PARAMS: Mapping[str, Mapping[str, Dimension]] = {
    "abort_storm": {"clients": WIDTH, "prompt_tokens": LENGTH, "max_tokens": LENGTH}
}
"""Parameters of faults that are lengths or numbers of clients."""


def scaled_scenario(scenario: Scenario, factors: Factors, tier_mib: int) -> Scenario:
    """The scenario in the larger size; `tier_mib` is the offload tier in the units of scenario files.

    Raises UsageError for a workload that has no parameter which scales.
    """
    return scenario.model_copy(
        update={
            "server": _server(scenario.server, factors, tier_mib),
            "workloads": {name: _workload(name, spec, factors) for name, spec in scenario.workloads.items()},
            "phases": tuple(_phase(phase, factors) for phase in scenario.phases),
            "faults": tuple(_fault(fault, factors) for fault in scenario.faults),
            "limits": _limits(scenario.limits, factors),
            # Bounds in milliseconds are those of the tiny model.
            "performance": {},
        }
    )


def _server(settings: ServerSettings, factors: Factors, tier_mib: int) -> ServerSettings:
    usable = (settings.gpu_blocks - KEPT_BLOCKS) * factors.length * factors.width
    return settings.model_copy(
        update={
            "gpu_blocks": usable + KEPT_BLOCKS,
            "max_model_len": settings.max_model_len * factors.length,
            "max_batched_tokens": settings.max_batched_tokens * factors.length,
            "cpu_offload_mib": tier_mib,
        }
    )


def _workload(name: str, spec: WorkloadSpec, factors: Factors) -> WorkloadSpec:
    params = KINDS[spec.kind].params
    if not dimensions(params):
        raise UsageError(f"workloads.{name}: {spec.kind} has no parameter that scales; use --scale tiny")
    try:
        scaled = scaled_params(params.model_validate(spec.params), factors)
    except ValueError as error:
        raise UsageError(f"workloads.{name}: cannot be made larger: {error}") from error
    return spec.model_copy(update={"params": scaled.model_dump(exclude_none=True)})


def _phase(phase: PhaseSpec, factors: Factors) -> PhaseSpec:
    return phase.model_copy(
        update={
            "requests": phase.requests * factors.width,
            "first": phase.first * factors.width,
            "concurrency": phase.concurrency * factors.width,
            "arrivals": scaled_arrivals(phase.arrivals, factors.width),
        }
    )


def scaled_arrivals(arrivals: Arrivals, width: int) -> Arrivals:
    """Rates grow with the width: the same requests for each stream and second."""
    match arrivals:
        case Constant() | Poisson() | Gamma():
            return arrivals.model_copy(update={"rate": arrivals.rate * width})
        case Ramp():
            rates = {"from_rate": arrivals.from_rate * width, "to_rate": arrivals.to_rate * width}
            return arrivals.model_copy(update=rates)
        case Steps():
            return arrivals.model_copy(update={"rates": tuple(rate * width for rate in arrivals.rates)})
        case Bursts():
            return arrivals.model_copy(update={"size": arrivals.size * width})
        case Closed() | Recorded():
            return arrivals


def _fault(fault: FaultSpec, factors: Factors) -> FaultSpec:
    trigger, params = fault.trigger, dict(fault.params)
    if trigger.limit is not None:
        trigger = trigger.model_copy(update={"limit": trigger.limit * factors.width})
    for name, dimension in FAULT_PARAMS.get(fault.kind, {}).items():
        if name in params:
            params[name] = _scaled_value(params[name], factors.of(dimension), dimension)
    return fault.model_copy(update={"trigger": trigger, "params": params})


def _scaled_value(value: Value, factor: int, dimension: Dimension) -> Value:
    if not isinstance(value, int):
        return value
    return min(value * factor, MOST_CLIENTS) if dimension is WIDTH else value * factor


def _limits(limits: Limits, factors: Factors) -> Limits:
    """A request of several times the length takes several times as long."""
    return limits.model_copy(
        update={
            "request_s": min(limits.request_s * factors.length, max(MOST_REQUEST_S, limits.request_s)),
            "ready_s": max(limits.ready_s, READY_S),
        }
    )
