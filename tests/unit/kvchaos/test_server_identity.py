"""Two models must not share a calibration: they round differently."""

from __future__ import annotations

from pathlib import Path

import pytest

from history.scenario import StackName
from kvchaos.calibration.calibrate import calibration_scenario, identity_of
from kvchaos.planning.run_plan import RunRequest
from kvchaos.planning.scenario_file import load_scenario
from kvchaos.servers import tiny_model
from kvchaos.servers.server_registry import ServerEnv

ON_GPU = ServerEnv(
    name="mine",
    kind="added",
    vllm="0.32.0",
    torch="2.13.0+cu130",
    python=Path("/env/bin/python"),
    python_version="3.12.0",
    preload=(),
    entry_module="vllm.entrypoints.openai.api_server",
    platform="cuda",
)


@pytest.mark.parametrize(
    ("stack", "model"), [("local", tiny_model.FORMAT), ("compose-gpu", "someone/some-model@main")]
)
def test_calibration_belongs_to_the_model_that_the_stack_serves(
    monkeypatch: pytest.MonkeyPatch, stack: StackName, model: str
) -> None:
    monkeypatch.setenv("KVCHAOS_MODEL", "someone/some-model")
    request = RunRequest(
        scenario=load_scenario(calibration_scenario()), server=ON_GPU, seed=1, workers=1, stack=stack
    )
    assert identity_of(request).model == model
