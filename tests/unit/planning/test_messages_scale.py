"""What is said when a scenario cannot be made larger here."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.planning.scale import run_scale
from kvchaos.planning.scale.run_scale import (
    HERE,
    PlannedMachine,
    machine_for,
    one_plan,
    scale_of,
    scaled_plans,
    served_model_size,
)
from kvchaos.planning.scale.scales import SCALES
from kvchaos.servers.model_size import read_model_size
from tests.support.scale_table import MODELS, cells, machine_of, scenarios

ACCELERATOR = SCALES["accelerator"]


def test_scale_of_the_other_platform_is_named_with_the_choices() -> None:
    with pytest.raises(
        UsageError, match=r"--scale node is for a server on a GPU; use tiny, small, or leave it out$"
    ):
        scale_of("node", "cpu")
    with pytest.raises(
        UsageError,
        match=r"--scale small is for a server on a CPU; use tiny, workstation, accelerator, node",
    ):
        scale_of("small", "cuda")
    assert scale_of(None, "cpu") is None
    assert scale_of("tiny", "cuda") is None


def test_missing_card_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_scale, "installed_cards", list)
    machine = machine_for(ACCELERATOR, HERE)
    with pytest.raises(UsageError, match=r"scale accelerator needs a GPU, and nvidia-smi lists none; use"):
        one_plan(scenarios()[0], ACCELERATOR, machine, MODELS["0.6B"])


def test_model_that_is_not_downloaded_has_no_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("KVCHAOS_MODEL", "someone/some-model")
    with pytest.raises(UsageError, match="someone/some-model: is not downloaded, so its sizes are unknown"):
        served_model_size(ACCELERATOR)
    monkeypatch.delenv("KVCHAOS_MODEL")
    assert served_model_size(ACCELERATOR) == MODELS["0.6B"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file"),
        ("{", "sizes of the model are missing or unknown"),
        ('{"hidden_size": 64}', "sizes of the model are missing or unknown: 'num_hidden_layers'"),
    ],
)
def test_folder_without_the_sizes_of_a_model_is_named(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UsageError, match=rf"config.json: {problem}"):
        read_model_size(tmp_path)


def test_scenarios_that_do_not_fit_are_left_out_with_a_line_each() -> None:
    machine = machine_of("0.6B", cells("0.6B")[0].machine)
    plans, misfits = scaled_plans(scenarios(), SCALES["workstation"], machine, MODELS["0.6B"])
    assert len(plans) + len(misfits) == len(scenarios())
    assert [line.partition(":")[0] for line in misfits] == ["scenario chat-completions"]


def test_planned_machine_replaces_this_one() -> None:
    machine = machine_for(ACCELERATOR, PlannedMachine(card_gib=80, cards=2, host_gib=100))
    assert [card.memory_mib for card in machine.cards] == [81_920, 81_920]
    assert (machine.host_bytes, machine.tier_limit) == (100 << 30, 40 << 30)


def test_large_model_needs_several_cards() -> None:
    machine = machine_of("0.6B", cells("0.6B")[0].machine)
    with pytest.raises(
        UsageError, match=r"scale accelerator: the model does not fit: .*; use a smaller model, or"
    ):
        one_plan(scenarios()[0], ACCELERATOR, machine, MODELS["32B"])
