"""What is said of settings that no server can have."""

from __future__ import annotations

import pytest

from history.scenario import ServerSettings
from kvchaos.errors import UsageError
from kvchaos.servers.served_model import hub_model
from kvchaos.stacks.device import device_of
from kvchaos.stacks.server_command import check_settings
from tests.unit.stacks.test_server_command import launch


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ServerSettings(gpu_blocks=24, block_size=32, max_model_len=768),
            "server.gpu_blocks 24: .* use 25 or more",
        ),
        (
            ServerSettings(gpu_blocks=25, block_size=32, max_model_len=769),
            "server.gpu_blocks 25: .* use 26 or more",
        ),
        (ServerSettings(gpu_blocks=40, block_size=48), "server.block_size 48: .* multiple of 32"),
        (ServerSettings(gpu_blocks=40, extra_args=("--port=9",)), "server.extra_args: --port is set"),
        (
            ServerSettings(gpu_blocks=40, extra_args=("--block_size", "64")),
            "server.extra_args: --block-size is set",
        ),
    ],
)
def test_server_settings_that_hang_or_crash_are_refused(settings: ServerSettings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        launch(settings)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_impossible_port_is_refused(port: int) -> None:
    with pytest.raises(UsageError, match=f"port {port}: use a number from 1 to 65535"):
        launch(ServerSettings(gpu_blocks=40), port=port)


@pytest.mark.parametrize("text", ["2", "yes", "true"])
def test_unclear_batch_invariant_setting_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"KVCHAOS_BATCH_INVARIANT is .*use 1 for on, 0 for off"):
        device_of("cuda", {"KVCHAOS_BATCH_INVARIANT": text})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--port 9", "KVCHAOS_GPU_ARGS: kvchaos sets --port itself; leave it out"),
        ("--gpu_memory_utilization=0.5", "KVCHAOS_GPU_ARGS: kvchaos sets --gpu-memory-utilization"),
        ("--tensor-parallel-size 2", "KVCHAOS_GPU_ARGS: kvchaos sets --tensor-parallel-size"),
        ("--seed '7", "KVCHAOS_GPU_ARGS is .*No closing quotation; write it as in a shell"),
    ],
)
def test_unusable_arguments_for_gpu_servers_are_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_settings(ServerSettings(gpu_blocks=80), device_of("cuda", {"KVCHAOS_GPU_ARGS": text}))


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "half"])
def test_invalid_memory_share_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"KVCHAOS_GPU_MEMORY_SHARE is .*above 0, at most 1$"):
        device_of("cuda", {"KVCHAOS_GPU_MEMORY_SHARE": text})


def test_cache_of_unknown_size_is_named() -> None:
    with pytest.raises(UsageError, match=r"KVCHAOS_GPU_ARGS: size of --kv-cache-dtype fp4 is unknown; use "):
        hub_model({"KVCHAOS_GPU_ARGS": "--kv-cache-dtype=fp4"})
