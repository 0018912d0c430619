"""Plans of all scenarios for five cards and three models, as docs/scales.md has them.

Run as a module it updates the tables of that page. The sizes of the models are those of their `config.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from history.scenario import Scenario
from kvchaos.doctor.gpu import Card
from kvchaos.errors import UsageError
from kvchaos.planning.scale.capacity import HostMachine
from kvchaos.planning.scale.run_scale import one_plan
from kvchaos.planning.scale.scale_plan import ScaledPlan
from kvchaos.planning.scale.scales import GIB, SCALES, ScaleLimits, default_scale
from kvchaos.planning.scenario_file import load_scenario, scenario_files
from kvchaos.servers.model_size import ModelSize, model_size
from tests.support.source_tree import ROOT

PAGE = ROOT / "docs" / "scales.md"
BEGIN, END = "<!-- plans -->", "<!-- /plans -->"
QWEN3 = {"head_dim": 128, "dtype": "bfloat16", "vocab_size": 151_936, "max_position_embeddings": 40_960}
MODELS: Mapping[str, ModelSize] = {
    name: model_size(
        {
            **QWEN3,
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": 8,
            "intermediate_size": intermediate,
            "tie_word_embeddings": name == "0.6B",
        }
    )
    for name, hidden, layers, heads, intermediate in (
        ("0.6B", 1024, 28, 16, 3072),
        ("8B", 4096, 36, 32, 12_288),
        ("32B", 5120, 64, 64, 25_600),
    )
}
NODE_MODEL = "32B"
NODE_CARDS = 4
MEMORY_SHARE = 0.8
TIER_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Workstation:
    """A machine of the table."""

    card_gb: int
    card_mib: int
    """As nvidia-smi prints it for such a card."""
    host_gib: int


MACHINES = (
    Workstation(8, 8_192, 32),
    Workstation(24, 24_564, 64),
    Workstation(48, 49_140, 128),
    Workstation(80, 81_559, 256),
    Workstation(141, 143_771, 512),
)


@dataclass(frozen=True, slots=True)
class TableCell:
    """One scenario on one machine with one model."""

    model: str
    machine: Workstation
    scenario: Scenario
    scale: ScaleLimits
    plan: ScaledPlan | None
    refusal: str = ""


@cache
def scenarios() -> tuple[Scenario, ...]:
    """All scenarios, by name."""
    return tuple(sorted(map(load_scenario, scenario_files()), key=lambda scenario: scenario.name))


def machine_of(model: str, machine: Workstation) -> HostMachine:
    """With four cards for the largest model."""
    cards = NODE_CARDS if model == NODE_MODEL else 1
    host = machine.host_gib * GIB
    return HostMachine(
        [Card("card", machine.card_mib, "")] * cards, host, MEMORY_SHARE, round(host * TIER_SHARE)
    )


@cache
def cells(model: str) -> tuple[TableCell, ...]:
    """All cells of a model, scenario by scenario."""
    return tuple(_cell(model, machine, scenario) for scenario in scenarios() for machine in MACHINES)


def _cell(model: str, workstation: Workstation, scenario: Scenario) -> TableCell:
    machine = machine_of(model, workstation)
    scale = SCALES["node" if model == NODE_MODEL else default_scale(machine.cards)]
    try:
        plan = one_plan(scenario, scale, machine, MODELS[model])
    except UsageError as error:
        return TableCell(model, workstation, scenario, scale, None, str(error))
    return TableCell(model, workstation, scenario, scale, plan)


def tables() -> str:
    """The tables in Markdown."""
    return "\n".join(line for model in MODELS for line in _table(model))


def _table(model: str) -> Iterator[str]:
    count = f"{NODE_CARDS} x " if model == NODE_MODEL else ""
    yield f"### Qwen3-{model}\n"
    yield "| scenario | " + " | ".join(f"{count}{machine.card_gb} GB" for machine in MACHINES) + " |"
    yield "|---|" + "---|" * len(MACHINES)
    of_model = cells(model)
    for begin in range(0, len(of_model), len(MACHINES)):
        row = of_model[begin : begin + len(MACHINES)]
        yield f"| `{row[0].scenario.name}` | " + " | ".join(map(_text, row)) + " |"
    yield ""


def _text(cell: TableCell) -> str:
    if cell.plan is None:
        return "-"
    server, scaling = cell.plan.scenario.server, cell.plan.scaling
    streams = max(phase.concurrency for phase in cell.plan.scenario.phases)
    return f"{scaling.lengths} x {scaling.width}: {server.max_model_len}, {server.gpu_blocks - 1}, {streams}"


def updated(page: str) -> str:
    """The page with the tables of now."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{tables()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
