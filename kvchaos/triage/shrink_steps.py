"""What of a scenario can become smaller: faults and their firings, phases, load, lengths, settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from history.phase_spec import Closed, PhaseSpec
from history.scenario import FaultSpec, Limits, Scenario, ServerSettings, Trigger, WorkloadSpec
from kvchaos.errors import UsageError
from kvchaos.planning.scenario_file import rechecked
from kvchaos.triage.failure_trace import FailureTrace
from kvchaos.triage.shrinking import ShrinkStep, list_step, number_step, single_step
from loadtests import workloads

Fired = Mapping[str, tuple[int, ...]]
Steps = Iterator[ShrinkStep[Scenario]]


def steps_of(trace: FailureTrace, scenario: Scenario) -> Steps:
    """All steps of a scenario, those first that make the most smaller, and the runs after them shorter."""
    if trace.sent:
        yield single_step("until the failure", partial(_until_failure, scenario, trace.sent))
    yield from _fault_steps(scenario, trace.fired)
    yield list_step("phases", len(scenario.phases), partial(_with_phases, scenario))
    yield from _load_steps(scenario)
    yield from _workload_steps(scenario)
    yield from _server_steps(scenario)
    yield from _fault_parameter_steps(scenario)
    yield from _judging_steps(scenario)


def changed(scenario: Scenario, **fields: object) -> Scenario | None:
    """The scenario with other fields; None where a check of scenarios refuses it."""
    try:
        return rechecked(scenario.model_copy(update=fields).model_dump(mode="json"))
    except UsageError:
        return None


def _fault_steps(scenario: Scenario, fired: Fired) -> Steps:
    faults = scenario.faults
    yield list_step("faults", len(faults), partial(_with_faults, scenario))
    yield single_step("faults: pinned", partial(_pinned, scenario, fired, None))
    for fault in faults:
        name = f"faults.{fault.id}"
        yield single_step(f"{name}: pinned", partial(_pinned, scenario, fired, fault.id))
        if fault.trigger.nth is not None:
            nth = fault.trigger.nth
            yield list_step(f"{name}.nth", len(nth), partial(_with_invocations, scenario, fault))
        if fault.trigger.limit is not None:
            yield number_step(f"{name}.limit", fault.trigger.limit, 1, partial(_with_limit, scenario, fault))


def _with_faults(scenario: Scenario, kept: Sequence[int]) -> Scenario | None:
    return changed(scenario, faults=tuple(scenario.faults[number] for number in kept))


def _with_fault(scenario: Scenario, fault: FaultSpec, **fields: object) -> Scenario | None:
    other = fault.model_copy(update=fields)
    return changed(scenario, faults=tuple(other if each.id == fault.id else each for each in scenario.faults))


def _pinned(scenario: Scenario, fired: Fired, only: str | None) -> Scenario | None:
    """With the faults pinned to the invocations at which they fired; `only` this one, if it is given."""
    faults = [_pinned_fault(each, fired) if only in (None, each.id) else each for each in scenario.faults]
    return changed(scenario, faults=tuple(faults))


def _pinned_fault(fault: FaultSpec, fired: Fired) -> FaultSpec:
    occurrences = fired.get(fault.id)
    if fault.trigger.nth is not None or not occurrences:
        return fault
    return fault.model_copy(update={"trigger": Trigger(nth=occurrences, states=fault.trigger.states)})


def _with_invocations(scenario: Scenario, fault: FaultSpec, kept: Sequence[int]) -> Scenario | None:
    nth = fault.trigger.nth or ()
    if not kept:
        return None  # A fault that never fires: the step before has tried without it.
    trigger = fault.trigger.model_copy(update={"nth": tuple(nth[number] for number in kept)})
    return _with_fault(scenario, fault, trigger=trigger)


def _with_limit(scenario: Scenario, fault: FaultSpec, limit: int) -> Scenario | None:
    return _with_fault(scenario, fault, trigger=fault.trigger.model_copy(update={"limit": limit}))


def _with_phases(scenario: Scenario, kept: Sequence[int]) -> Scenario | None:
    """Only these phases, and what the others alone had: faults, workloads, requirements, bounds."""
    phases = tuple(scenario.phases[number] for number in kept)
    names, used = {phase.name for phase in phases}, {phase.workload for phase in phases}
    bounds = {
        name: each
        for name, each in scenario.performance.items()
        if name in names and (each.like is None or each.like in names)
    }
    # A fault without a phase has the only one with the role chaos, which may be a different one now.
    faults = [
        fault.model_copy(update={"phase": scenario.phase_of(fault)})
        for fault in scenario.faults
        if scenario.phase_of(fault) in names
    ]
    return changed(
        scenario,
        phases=phases,
        faults=tuple(faults),
        workloads={name: spec for name, spec in scenario.workloads.items() if name in used},
        requires=tuple(each for each in scenario.requires if each.phase in names),
        performance=bounds,
    )


def _until_failure(scenario: Scenario, sent: Mapping[str, int]) -> Scenario | None:
    """Only the phases that had begun, the last of them with the requests that had been sent."""
    begun = [number for number, phase in enumerate(scenario.phases) if phase.name in sent]
    cut = _with_phases(scenario, begun) if begun else None
    if cut is None:
        return None
    phase = cut.phases[-1]
    unit = _chain_length(cut, phase)
    conversations = min(-(-sent[phase.name] // unit), phase.requests // unit)
    return _first_requests(cut, phase, unit, conversations)


def _load_steps(scenario: Scenario) -> Steps:
    for phase in scenario.phases:
        name, unit = f"phases.{phase.name}", _chain_length(scenario, phase)
        conversations = phase.requests // unit
        first = partial(_first_requests, scenario, phase, unit)
        last = partial(_last_requests, scenario, phase, unit)
        yield number_step(f"{name}.requests", conversations, 1, first)
        yield number_step(f"{name}.requests: last", conversations, 1, last)
    for phase in scenario.phases:
        name = f"phases.{phase.name}"
        concurrency = partial(_with_phase_field, scenario, phase, "concurrency")
        yield number_step(f"{name}.concurrency", phase.concurrency, 1, concurrency)
        yield single_step(
            f"{name}.arrivals", partial(_with_phase_field, scenario, phase, "arrivals", Closed())
        )


def _chain_length(scenario: Scenario, phase: PhaseSpec) -> int:
    spec = scenario.workloads[phase.workload]
    return workloads.build(spec, phase.workload, seed=0).chain_length


def _with_phase(scenario: Scenario, phase: PhaseSpec, fields: Mapping[str, object]) -> Scenario | None:
    other = phase.model_copy(update=dict(fields))
    phases = tuple(other if each.name == phase.name else each for each in scenario.phases)
    return changed(scenario, phases=phases)


def _with_phase_field(scenario: Scenario, phase: PhaseSpec, field: str, value: object) -> Scenario | None:
    return _with_phase(scenario, phase, {field: value})


def _first_requests(scenario: Scenario, phase: PhaseSpec, unit: int, count: int) -> Scenario | None:
    return _with_phase(scenario, phase, _fewer(phase, count * unit))


def _fewer(phase: PhaseSpec, requests: int) -> dict[str, object]:
    """More in flight than there are requests say nothing."""
    return {"requests": requests, "concurrency": min(phase.concurrency, requests)}


def _last_requests(scenario: Scenario, phase: PhaseSpec, unit: int, count: int) -> Scenario | None:
    left_out = phase.requests - count * unit
    return _with_phase(scenario, phase, {**_fewer(phase, count * unit), "first": phase.first + left_out})


def _workload_steps(scenario: Scenario) -> Steps:
    """Counts and lengths toward the least that their kind allows; shares and times to zero."""
    for name, spec in scenario.workloads.items():
        params = workloads.KINDS[spec.kind].params
        values = params.model_validate(spec.params)
        for key, field in params.model_fields.items():
            value, step = getattr(values, key), f"workloads.{name}.{key}"
            build = partial(_with_param, scenario, name, spec, key)
            if isinstance(value, bool):
                continue
            if isinstance(value, int):
                yield number_step(step, value, _least(field.metadata), build)
            elif isinstance(value, float) and value:
                yield single_step(step, partial(build, 0.0))


def _least(metadata: Sequence[object]) -> int:
    """Of a whole number, by the bounds of its field."""
    at_least = [bound for each in metadata if isinstance(bound := getattr(each, "ge", None), int)]
    above = [bound + 1 for each in metadata if isinstance(bound := getattr(each, "gt", None), int)]
    return max([*at_least, *above], default=0)


def _with_param(scenario: Scenario, name: str, spec: WorkloadSpec, key: str, value: float) -> Scenario | None:
    other = spec.model_copy(update={"params": {**spec.params, key: value}})
    return changed(scenario, workloads={**scenario.workloads, name: other})


def _server_steps(scenario: Scenario) -> Steps:
    """Settings to their defaults, all at once and one by one, and without the chaos module."""
    settings = scenario.server
    # With its blocks, which have no default, and without the chaos module once that is off.
    defaults = ServerSettings(gpu_blocks=settings.gpu_blocks, chaos=settings.chaos)
    yield single_step("server", partial(changed, scenario, server=defaults))
    bare = {"chaos": False, "audit": False, "sync_loads": False}
    yield single_step("server.chaos", partial(_with_settings, scenario, bare))
    for key in ServerSettings.model_fields:
        default = getattr(defaults, key)
        if key not in ("chaos", "extra_args") and getattr(settings, key) != default:
            yield single_step(f"server.{key}", partial(_with_settings, scenario, {key: default}))
    count = len(settings.extra_args)
    yield list_step("server.extra_args", count, partial(_with_arguments, scenario))


def _with_settings(scenario: Scenario, fields: Mapping[str, object]) -> Scenario | None:
    return changed(scenario, server=scenario.server.model_copy(update=dict(fields)))


def _with_arguments(scenario: Scenario, kept: Sequence[int]) -> Scenario | None:
    arguments = scenario.server.extra_args
    return _with_settings(scenario, {"extra_args": tuple(arguments[number] for number in kept)})


def _fault_parameter_steps(scenario: Scenario) -> Steps:
    for fault in scenario.faults:
        for key in fault.params:
            others = {name: value for name, value in fault.params.items() if name != key}
            yield single_step(
                f"faults.{fault.id}.{key}", partial(_with_fault, scenario, fault, params=others)
            )


def _judging_steps(scenario: Scenario) -> Steps:
    """What only deadlines and oracles read."""
    for key, value in (("requires", ()), ("performance", {}), ("limits", Limits())):
        yield single_step(key, partial(changed, scenario, **{key: value}))
    for key in Limits.model_fields:
        default = getattr(Limits(), key)
        limits = scenario.limits.model_copy(update={key: default})
        yield single_step(f"limits.{key}", partial(changed, scenario, limits=limits))
