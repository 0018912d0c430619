"""Chooses how much larger a scenario gets on a machine, and says why, line by line. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from history.scaling import Scaling
from history.scenario import Scenario, ServerSettings
from kvchaos.errors import UsageError
from kvchaos.planning.scale.capacity import Capacity, HostMachine, capacity
from kvchaos.planning.scale.scaled_scenario import scaled_scenario
from kvchaos.planning.scale.scales import FEW_STREAMS, GIB, MIB, ScaleLimits
from kvchaos.planning.scale.scenario_load import (
    ScenarioLoad,
    device_tokens,
    pressure_of,
    scenario_load,
)
from kvchaos.servers.model_size import ModelSize
from kvchaos.servers.tiny_model import BYTES_PER_TOKEN as TINY_TOKEN_BYTES
from loadtests import workloads
from loadtests.workloads.dimensions import Factors
from loadtests.workloads.workload import TimedWorkload

AMPLE = 1.25
"""A tier that holds the working set so many times is never full, answers included; more would be idle."""


TRACE_SCALE = "scale"
"""The parameter of a trace by which its recorded lengths are multiplied."""
MOST_LENGTH = 1_000_000


@dataclass(frozen=True, slots=True)
class ScaledPlan:
    """A scenario at a scale."""

    scenario: Scenario
    scaling: Scaling
    tensor_parallel: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What a scenario takes at the size of its file, tokens."""

    load: ScenarioLoad
    device: int
    tier: int
    """No more than is ever used."""


@dataclass(frozen=True, slots=True)
class FactorBound:
    """How large a product of the two factors one limit allows."""

    most: int
    reason: str


def plan_scale(scenario: Scenario, scale: ScaleLimits, machine: HostMachine, model: ModelSize) -> ScaledPlan:
    """The scenario as large as the scale and the machine allow.

    Raises UsageError with one line when it does not fit there.
    """
    room = capacity(machine, model, scale)
    demand = _demand(scenario)
    bounds = _bounds(demand, room, scale, model, scenario)
    tightest = min(bounds, key=lambda bound: bound.most)
    factors, reason = _factors(scenario, scale, model, demand, tightest)
    scaled = scaled_scenario(scenario, factors, _tier_mib(scenario, demand, factors))
    load = _scaled_load(demand.load, scenario, factors)
    settings = scaled.server
    device = device_tokens(settings)
    tier = settings.cpu_offload_mib * MIB // TINY_TOKEN_BYTES if settings.offload else None
    lines = [
        *room.arithmetic,
        f"file: {demand.device} tokens on the device, {demand.tier} in the tier, {demand.load.streams} "
        f"streams, contexts of {scenario.server.max_model_len}",
        *(f"lengths x width: at most {bound.most}, by {bound.reason}" for bound in bounds),
        f"lengths x {factors.length}, width x {factors.width}: {reason}",
        *_size_lines(settings, device, tier, model),
    ]
    return ScaledPlan(
        scenario=scaled,
        scaling=Scaling(
            scale=scale.name,
            lengths=factors.length,
            width=factors.width,
            limited_by=reason,
            pressure=pressure_of(load, settings, device, tier),
            arithmetic=tuple(lines),
        ),
        tensor_parallel=room.tensor_parallel,
    )


def _size_lines(settings: ServerSettings, device: int, tier: int | None, model: ModelSize) -> Iterator[str]:
    """The sizes of the caches, `device` and `tier` in tokens."""
    blocks = device // settings.block_size
    size = device * model.token_bytes / GIB
    yield f"device: {device} tokens = {blocks} blocks of {settings.block_size}, {size:.2f} GiB"
    if tier is not None:
        yield f"tier: {tier} tokens, {tier * model.token_bytes / GIB:.2f} GiB"


def _demand(scenario: Scenario) -> Demand:
    load, settings = _load_of(scenario), scenario.server
    device = device_tokens(settings)
    written = settings.cpu_offload_mib * MIB // TINY_TOKEN_BYTES if settings.offload else 0
    enough = round(AMPLE * load.distinct_tokens)
    return Demand(load, device, min(written, enough))


def _load_of(scenario: Scenario) -> ScenarioLoad:
    return _load_of_json(scenario.model_dump_json())


@lru_cache(maxsize=256)
def _load_of_json(scenario: str) -> ScenarioLoad:
    """Kept, since the plans for several machines begin with the same load."""
    return scenario_load(Scenario.model_validate_json(scenario))


def _bounds(
    demand: Demand, room: Capacity, scale: ScaleLimits, model: ModelSize, scenario: Scenario
) -> list[FactorBound]:
    bounds = []
    if room.device_bytes is not None:
        most = room.device_bytes // (demand.device * model.token_bytes)
        bounds.append(FactorBound(most, "the memory of the device"))
    if scale.most_blocks is not None:
        most = scale.most_blocks // (demand.device // scenario.server.block_size)
        bounds.append(FactorBound(most, f"{scale.most_blocks} blocks"))
    answers = scale.most_answer_tokens // demand.load.answer_tokens
    bounds.append(FactorBound(answers, f"the time for {scale.most_answer_tokens} tokens of answers"))
    if demand.tier:
        bounds.append(
            FactorBound(room.tier_bytes // (demand.tier * model.token_bytes), "the memory for the tier")
        )
    return bounds


def _factors(
    scenario: Scenario, scale: ScaleLimits, model: ModelSize, demand: Demand, tightest: FactorBound
) -> tuple[Factors, str]:
    context = scenario.server.max_model_len
    most_length = min(scale.most_context, model.most_context) // context
    least_length = -(-scale.least_context // context)
    if most_length < least_length:
        raise UsageError(
            f"scenario {scenario.name}: scale {scale.name} needs contexts of {scale.least_context} tokens, "
            f"the model has {model.most_context}; use a smaller scale"
        )
    if tightest.most < least_length:
        raise UsageError(
            f"scenario {scenario.name}: does not fit at scale {scale.name}: lengths x {least_length} need "
            f"more than {tightest.reason}; use a smaller scale or model"
        )
    streams = demand.load.streams
    if streams <= FEW_STREAMS or _is_timed(scenario):
        most = min(most_length, _recorded_length(scenario))
        length = min(most, tightest.most)
        reason = "the length of contexts" if length == most else tightest.reason
        return Factors(length, 1), f"{reason}; the width is part of the scenario"
    wanted = -(-scale.wanted_streams // streams)
    length = min(max(tightest.most // wanted, least_length), most_length)
    width = max(min(tightest.most // length, scale.most_streams // streams), 1)
    by_streams = width == scale.most_streams // streams
    return Factors(length, width), f"{scale.most_streams} streams" if by_streams else tightest.reason


def _is_timed(scenario: Scenario) -> bool:
    """Whether a workload has an end and times of its own."""
    return any(
        isinstance(workloads.build(spec, name, 0), TimedWorkload) for name, spec in scenario.workloads.items()
    )


def _recorded_length(scenario: Scenario) -> int:
    """The factor at which the shortest scaled trace is as long as it was recorded."""
    scales = [
        float(scale)
        for spec in scenario.workloads.values()
        if isinstance(scale := spec.params.get(TRACE_SCALE), int | float)
    ]
    return min((max(math.floor(1 / scale), 1) for scale in scales), default=MOST_LENGTH)


def _tier_mib(scenario: Scenario, demand: Demand, factors: Factors) -> int:
    """In the units of scenario files: MiB of the tiny model's tokens."""
    if not scenario.server.offload:
        return scenario.server.cpu_offload_mib
    tokens = demand.tier * factors.length * factors.width
    return max(-(-tokens * TINY_TOKEN_BYTES // MIB), 1)


def _scaled_load(load: ScenarioLoad, scenario: Scenario, factors: Factors) -> ScenarioLoad:
    """The sums at these factors. What all conversations share does not grow with the width."""
    twice = _load_of(scaled_scenario(scenario, Factors(1, 2), 1)) if factors.width > 1 else load
    shared = 2 * load.distinct_tokens - twice.distinct_tokens
    own = load.distinct_tokens - shared
    length, width = factors.length, factors.width
    return ScenarioLoad(
        requests=load.requests * width,
        prompt_tokens=load.prompt_tokens * length * width,
        answer_tokens=load.answer_tokens * length * width,
        distinct_tokens=(shared + own * width) * length,
        streams=load.streams * width,
    )
