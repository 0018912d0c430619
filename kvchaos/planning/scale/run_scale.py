"""The scale of runs on this machine: reads its cards, its memory and the model, and scales scenarios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from history.scaling import ScaleName, Scaling, pressure_text
from history.scenario import Scenario
from kvchaos.doctor.gpu import Card, installed_cards
from kvchaos.errors import UsageError
from kvchaos.planning.scale.capacity import HostMachine
from kvchaos.planning.scale.marked_workloads import with_markers
from kvchaos.planning.scale.scale_plan import ScaledPlan, plan_scale
from kvchaos.planning.scale.scales import GIB, MIB, SCALES, ScaleLimits, default_scale
from kvchaos.planning.scenario_file import check_stack, rechecked
from kvchaos.servers import tiny_model
from kvchaos.servers.gpu_arguments import cache_number_bytes, gpu_args
from kvchaos.servers.model_size import ModelSize, model_size, read_model_size
from kvchaos.servers.served_model import HUB_MODEL, hub_folder, hub_model, snapshot
from kvchaos.stacks.device import Platform, host_bytes, memory_share, tier_limit

TENSOR_PARALLEL = "--tensor-parallel-size"
HUB_MODEL_CONFIG = {
    "hidden_size": 1024,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "vocab_size": 151_936,
    "tie_word_embeddings": True,
    "max_position_embeddings": 40_960,
    "dtype": "bfloat16",
}
"""Of the default model, which may not be downloaded yet."""


def scale_of(name: ScaleName | None, platform: Platform) -> ScaleLimits | None:
    """The scale to run at; None for `tiny`. Raises UsageError for a scale of the other platform."""
    chosen = name or (default_scale(installed_cards()) if platform == "cuda" else "tiny")
    if chosen == "tiny":
        return None
    scale = SCALES[chosen]
    if scale.on_gpu != (platform == "cuda"):
        where = "a GPU" if scale.on_gpu else "a CPU"
        raise UsageError(f"--scale {chosen} is for a server on {where}; {_choices(platform)}")
    return scale


@dataclass(frozen=True, slots=True)
class PlannedMachine:
    """A machine to plan for that is not this one; None: as here."""

    card_gib: float | None = None
    cards: int = 1
    host_gib: float | None = None


HERE = PlannedMachine()


def machine_for(scale: ScaleLimits, planned: PlannedMachine = HERE) -> HostMachine:
    """What there is for servers of a scale. Raises UsageError for variables that are no numbers."""
    host = host_bytes() if planned.host_gib is None else round(planned.host_gib * GIB)
    limit = tier_limit(scale=scale.name, host=host)
    if planned.card_gib is not None:
        card = Card("planned", round(planned.card_gib * GIB / MIB), driver="")
        return HostMachine([card] * planned.cards, host, memory_share(), limit)
    return HostMachine(installed_cards() if scale.on_gpu else [], host, memory_share(), limit)


def served_model_size(scale: ScaleLimits) -> ModelSize:
    """Sizes of the model that servers of a scale get. Raises UsageError where they are unknown."""
    if not scale.on_gpu:
        return model_size(tiny_model.config())
    model = hub_model()
    folder = Path(model.name) if Path(model.name).is_absolute() else None
    if folder is None and model.revision is not None:
        folder = snapshot(hub_folder(), model.name, model.revision)
    if folder is not None:
        return read_model_size(folder, cache_number_bytes(gpu_args()))
    if model.name == HUB_MODEL:
        return model_size(HUB_MODEL_CONFIG, cache_number_bytes(gpu_args()))
    raise UsageError(
        f"model {model.name}: is not downloaded, so its sizes are unknown; download it, give its folder in "
        "KVCHAOS_MODEL, or use --scale tiny"
    )


def scaled_plans(
    scenarios: Sequence[Scenario], scale: ScaleLimits, machine: HostMachine, model: ModelSize
) -> tuple[list[ScaledPlan], list[str]]:
    """The scenarios at a scale, and a line for each that does not fit."""
    plans, misfits = [], []
    for scenario in scenarios:
        try:
            plans.append(one_plan(scenario, scale, machine, model))
        except UsageError as error:
            misfits.append(str(error))
    return plans, misfits


def one_plan(scenario: Scenario, scale: ScaleLimits, machine: HostMachine, model: ModelSize) -> ScaledPlan:
    """One scenario at a scale. Raises UsageError when it does not fit."""
    return _checked(plan_scale(scenario, scale, machine, model), scale)


def scaling_lines(scaling: Scaling) -> tuple[str, ...]:
    """The arithmetic and the pressure, for people."""
    return (
        f"scale {scaling.scale}",
        *scaling.arithmetic,
        f"pressure: {pressure_text(scaling.pressure)}",
    )


def _checked(plan: ScaledPlan, scale: ScaleLimits) -> ScaledPlan:
    """The plan with tensor parallelism, checked as a scenario file is. Raises UsageError."""
    server = plan.scenario.server
    if plan.tensor_parallel > 1:
        arguments = (*server.extra_args, TENSOR_PARALLEL, str(plan.tensor_parallel))
        server = server.model_copy(update={"extra_args": arguments})
    scenario = plan.scenario.model_copy(update={"server": server})
    if scale.on_gpu:
        scenario = with_markers(scenario)
    scenario = rechecked(scenario.model_dump(mode="json"))
    if scale.on_gpu:
        check_stack(scenario, "compose-gpu")
    return ScaledPlan(scenario, plan.scaling, plan.tensor_parallel)


def _choices(platform: Platform) -> str:
    names = [scale.name for scale in SCALES.values() if scale.on_gpu == (platform == "cuda")]
    return f"use tiny, {', '.join(names)}, or leave it out"
