"""A scenario at a larger scale must press on the caches as its file does, and must fit where it is to run."""

from __future__ import annotations

import pytest
import yaml

from history.expected_findings import Expectation, ExpectedBug
from history.phase_spec import Arrivals, Bursts, Closed, Poisson, Ramp, Steps
from history.plan import RunPlan
from history.scenario import WorkloadSpec
from history.strict_yaml import dump_yaml
from kvchaos.doctor.gpu import Card
from kvchaos.planning.scale.capacity import RESERVE_BYTES
from kvchaos.planning.scale.expected_at_scale import by_chance
from kvchaos.planning.scale.marked_workloads import with_markers
from kvchaos.planning.scale.run_scale import machine_for, one_plan, served_model_size
from kvchaos.planning.scale.scale_plan import AMPLE, ScaledPlan
from kvchaos.planning.scale.scaled_scenario import scaled_arrivals
from kvchaos.planning.scale.scales import GIB, MIB, SCALES, SMALL, default_scale
from kvchaos.planning.scale.scenario_load import device_tokens, pressure_of, scenario_load
from kvchaos.planning.scenario_file import find_scenario, load_scenario
from kvchaos.report.verdict_text import repeat_command, version_lines
from kvchaos.servers import tiny_model
from kvchaos.servers.model_size import model_size
from kvchaos.stacks.device import device_of
from loadtests.workloads import KINDS
from loadtests.workloads.dimensions import LENGTH, Factors, dimensions, scaled_params
from loadtests.workloads.one_shot import SharedPrefixParams
from tests.support.scale_table import MODELS, PAGE, TableCell, cells, machine_of, updated
from tests.support.synthetic_records import make_plan

ALL = [cell for model in MODELS for cell in cells(model)]
PLANNED = [(cell, cell.plan) for cell in ALL if cell.plan is not None]
CLOSE = 0.03


def names(cell: TableCell) -> str:
    return f"{cell.scenario.name} on {cell.machine.card_gb} GB with {cell.model}"


def tier_bytes(cell: TableCell, plan: ScaledPlan) -> int:
    mib = plan.scenario.server.cpu_offload_mib
    return mib * MIB // tiny_model.BYTES_PER_TOKEN * MODELS[cell.model].token_bytes


def test_page_has_the_plans_of_this_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert updated(page) == page, "run: python -m tests.support.scale_table"


def test_each_plan_keeps_the_pressure_of_its_file() -> None:
    for cell, plan in PLANNED:
        tiny, settings = scenario_load(cell.scenario), cell.scenario.server
        tier = settings.cpu_offload_mib * MIB // tiny_model.BYTES_PER_TOKEN if settings.offload else None
        before = pressure_of(tiny, settings, device_tokens(settings), tier)
        after = plan.scaling.pressure
        assert after.streams_over_fit == pytest.approx(before.streams_over_fit, rel=CLOSE), names(cell)
        assert after.working_set_over_device == pytest.approx(before.working_set_over_device, rel=CLOSE)
        assert after.chunks == pytest.approx(before.chunks, rel=CLOSE), names(cell)
        assert after.returning_share == pytest.approx(before.returning_share, abs=CLOSE), names(cell)


def test_each_tier_is_as_tight_as_in_its_file_or_larger_than_the_working_set() -> None:
    for cell, plan in PLANNED:
        settings = cell.scenario.server
        tier = settings.cpu_offload_mib * MIB // tiny_model.BYTES_PER_TOKEN
        working_set = scenario_load(cell.scenario).distinct_tokens
        product = plan.scaling.lengths * plan.scaling.width
        scaled = plan.scenario.server.cpu_offload_mib * MIB // tiny_model.BYTES_PER_TOKEN
        wanted = min(tier, AMPLE * working_set) * product
        assert wanted <= scaled <= wanted * (1 + CLOSE) + MIB // tiny_model.BYTES_PER_TOKEN, names(cell)


def test_each_plan_fits_on_its_cards_and_in_its_host() -> None:
    for cell, plan in PLANNED:
        machine, model = machine_of(cell.model, cell.machine), MODELS[cell.model]
        device = device_tokens(plan.scenario.server) * model.token_bytes
        cards = plan.tensor_parallel
        usable = cards * round(cell.machine.card_mib * MIB * machine.memory_share)
        assert device + model.weight_bytes + cards * RESERVE_BYTES <= usable, names(cell)
        assert tier_bytes(cell, plan) <= machine.tier_limit * (1 + CLOSE), names(cell)
        assert plan.scenario.server.max_model_len <= model.most_context, names(cell)
        assert max(phase.concurrency for phase in plan.scenario.phases) <= cell.scale.most_streams


def test_each_refusal_is_one_line_that_names_a_remedy() -> None:
    refused = [cell for cell in ALL if cell.plan is None]
    assert refused
    for cell in refused:
        assert "\n" not in cell.refusal, names(cell)
        assert cell.refusal.partition(";")[2] or cell.scenario.name == "chat-completions", cell.refusal


@pytest.mark.parametrize("name", ["evict-storm", "chat-return", "agent-loop", "baseline-offload"])
def test_computed_load_equals_that_of_the_scaled_prompts(name: str) -> None:
    scenario = load_scenario(find_scenario(name))
    machine = machine_of("0.6B", cells("0.6B")[0].machine)
    plan = one_plan(scenario, SMALL, machine, served_model_size(SMALL))
    settings = plan.scenario.server
    tier = settings.cpu_offload_mib * MIB // tiny_model.BYTES_PER_TOKEN
    counted = pressure_of(scenario_load(plan.scenario), settings, device_tokens(settings), tier)
    for figure, value in plan.scaling.pressure:
        assert getattr(counted, figure) == pytest.approx(value, rel=2 * CLOSE, abs=0.01), figure


def test_prefixes_of_whole_blocks_stay_whole() -> None:
    for _, plan in PLANNED:
        for spec in plan.scenario.workloads.values():
            assert spec.params.get("prefix_tokens", 0) % plan.scaling.lengths == 0
        assert (plan.scenario.server.gpu_blocks - 1) % plan.scaling.lengths == 0


def test_every_length_in_tokens_of_every_workload_scales() -> None:
    exact = {"block_tokens", "segment_tokens"}  # Of the format of a trace, and of a prompt with markers.
    for kind in KINDS.values():
        marked = dimensions(kind.params)
        for parameter in kind.params.model_fields:
            if parameter.endswith(("_tokens", "_output")) and parameter not in exact:
                assert marked.get(parameter) is LENGTH, f"{kind.name}: {parameter}"


def test_prompts_of_shared_prefixes_have_markers_where_a_real_model_serves_them() -> None:
    for cell, plan in PLANNED:
        for name, spec in cell.scenario.workloads.items():
            kind = {"shared_prefix": "marked_prefix"}.get(spec.kind, spec.kind)
            assert plan.scenario.workloads[name].kind == kind, names(cell)


def test_prompts_for_the_tiny_model_have_no_markers() -> None:
    plan = one_plan(
        load_scenario(find_scenario("evict-storm")), SMALL, machine_for(SMALL), served_model_size(SMALL)
    )
    assert {spec.kind for spec in plan.scenario.workloads.values()} == {"shared_prefix"}


def test_prompts_without_room_for_a_marker_stay_as_they_are() -> None:
    scenario = load_scenario(find_scenario("evict-storm"))
    spec = WorkloadSpec(kind="shared_prefix", params={"suffix_tokens": 7})
    assert (
        with_markers(scenario.model_copy(update={"workloads": {"shared": spec}})).workloads["shared"] == spec
    )


def test_few_streams_keep_their_number_and_their_order() -> None:
    for cell, plan in PLANNED:
        if max(phase.concurrency for phase in cell.scenario.phases) <= 4:
            assert plan.scaling.width == 1
            assert [phase.requests for phase in plan.scenario.phases] == [
                phase.requests for phase in cell.scenario.phases
            ]


def test_fault_limits_grow_with_the_requests_and_shares_stay() -> None:
    cell, plan = next((cell, plan) for cell, plan in PLANNED if cell.scenario.name == "evict-storm")
    for before, after in zip(cell.scenario.faults, plan.scenario.faults, strict=True):
        assert before.trigger.limit is not None
        assert after.trigger.limit == before.trigger.limit * plan.scaling.width
        assert after.trigger.probability == before.trigger.probability


def test_known_bugs_may_show_at_scale_and_none_must() -> None:
    bug = ExpectedBug(id="b", reference="b", title="b", mechanism="b", always=("a/b",), by_chance=("c/d",))
    certain = Expectation(releases=">=0", fail=("a/b",), collateral=("c/d",), issue="b", bugs=(bug,))
    chance = by_chance(certain)
    assert (chance.fail, chance.collateral) == ((), ("a/b", "c/d"))
    assert [(each.always, each.by_chance) for each in chance.bugs] == [((), ("a/b", "c/d"))]


def test_scaling_is_stored_with_its_arithmetic() -> None:
    _, plan = PLANNED[0]
    stored = make_plan().model_copy(update={"scaling": plan.scaling})
    assert RunPlan.model_validate_json(stored.model_dump_json()).scaling == plan.scaling
    content = yaml.safe_load(dump_yaml(stored.model_dump(mode="json")))
    assert content["scaling"]["arithmetic"] == list(plan.scaling.arithmetic)


def test_report_names_the_scale_in_the_command_and_the_versions() -> None:
    _, plan = PLANNED[0]
    stored = make_plan().model_copy(update={"scaling": plan.scaling})
    assert repeat_command(stored).endswith(f"--scale {plan.scaling.scale}")
    assert any(line.startswith(f"scale {plan.scaling.scale}: ") for line in version_lines(stored))
    assert not any(line.startswith("scale ") for line in version_lines(make_plan()))


@pytest.mark.parametrize(
    ("memory_mib", "scale"), [((), "tiny"), ((24_564,), "workstation"), ((81_559,), "accelerator")]
)
def test_scale_follows_from_the_largest_card(memory_mib: tuple[int, ...], scale: str) -> None:
    assert default_scale([Card("card", memory, "") for memory in memory_mib]) == scale


def test_graphs_are_captured_beyond_the_tiny_scale_only() -> None:
    assert "--enforce-eager" in device_of("cuda", {}).flags
    for name in SCALES:
        assert "--enforce-eager" not in device_of("cuda", {}, name).flags
    assert device_of("cuda", {}, "node", 100 * GIB).tier_limit == 40 * GIB


def test_model_with_unknown_sizes_is_an_error() -> None:
    with pytest.raises(KeyError):
        model_size({"hidden_size": 64})


def test_scaled_prompts_are_as_many_times_longer() -> None:
    small = SharedPrefixParams(prefixes=3, prefix_tokens=64, prompts=9)
    large = scaled_params(small, Factors(length=4, width=2))
    assert (large.prefixes, large.prefix_tokens, large.prompts) == (6, 256, 18)
    assert large.min_prefix_tokens is None
    assert large.cold_share == small.cold_share


@pytest.mark.parametrize(
    ("arrivals", "scaled"),
    [
        (Poisson(kind="poisson", rate=2), Poisson(kind="poisson", rate=6)),
        (Steps(kind="steps", rates=(1, 2), each_s=5), Steps(kind="steps", rates=(3, 6), each_s=5)),
        (Bursts(kind="bursts", size=4, every_s=2), Bursts(kind="bursts", size=12, every_s=2)),
        (
            Ramp(kind="ramp", from_rate=0, to_rate=2, over_s=9),
            Ramp(kind="ramp", from_rate=0, to_rate=6, over_s=9),
        ),
        (Closed(), Closed()),
    ],
)
def test_rates_grow_with_the_width_and_times_stay(arrivals: Arrivals, scaled: Arrivals) -> None:
    assert scaled_arrivals(arrivals, 3) == scaled
