"""A server that is started with other settings than the scenario's makes every verdict worthless."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chaos.inside import process_globals
from history.scenario import ServerSettings
from kvchaos.errors import UsageError
from kvchaos.servers.served_model import HUB_MODEL_TOKEN_BYTES, ServedModel, hub_model, tiny_folder
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.device import CPU, Device, device_of
from kvchaos.stacks.server_command import (
    CONTROL_KEY,
    Launch,
    Listening,
    RunFolders,
    check_settings,
    plan_launch,
)

MODEL = ServedModel("/model", fingerprint="", token_bytes=1024)
FOLDERS = RunFolders(temp=Path("/t/kvchaos-1"), plugin=Path("/run/plugin"), control=Path("/run/control"))


def server(
    vllm: str = "0.32.0", preload: tuple[str, ...] = ("/lib/tcmalloc.so", "/lib/iomp5.so")
) -> ServerEnv:
    return ServerEnv(
        name=vllm,
        kind="installed",
        vllm=vllm,
        torch="2.13.0+cpu",
        python=Path("/env/bin/python"),
        python_version="3.11.7",
        preload=preload,
        entry_module="vllm.entrypoints.openai.api_server",
    )


def launch(
    settings: ServerSettings,
    env: ServerEnv | None = None,
    port: int = 8123,
    device: Device = CPU,
    model: ServedModel = MODEL,
) -> Launch:
    return plan_launch(env or server(), settings, model, Listening(port), FOLDERS, device)


def kv_transfer_config(
    settings: ServerSettings, device: Device = CPU, model: ServedModel = MODEL
) -> dict[str, Any]:
    command = launch(settings, device=device, model=model).command
    content: dict[str, Any] = json.loads(command[command.index("--kv-transfer-config") + 1])
    return content


def test_every_setting_reaches_the_command_line() -> None:
    settings = ServerSettings(
        gpu_blocks=40,
        block_size=64,
        max_model_len=512,
        max_batched_tokens=128,
        offload=False,
        extra_args=("--seed", "7"),
    )
    assert " ".join(launch(settings).command) == (
        "/env/bin/python -m vllm.entrypoints.openai.api_server --model /model --served-model-name tiny "
        "--host 127.0.0.1 --port 8123 --block-size 64 --num-gpu-blocks-override 40 --dtype float32 "
        "--enforce-eager --max-model-len 512 --max-num-batched-tokens 128 --enable-chunked-prefill "
        "--enable-prompt-tokens-details --seed 7"
    )


@pytest.mark.parametrize(
    ("vllm", "reserve", "given"),
    [
        ("0.18.1", False, False),
        ("0.19.0", False, True),
        ("0.32.0+cpu", False, True),
        ("0.19.0", True, False),
    ],
)
def test_reservation_is_switched_off_only_where_the_flag_exists(
    vllm: str, reserve: bool, given: bool
) -> None:
    settings = ServerSettings(gpu_blocks=40, reserve_full_prompt=reserve)
    command = launch(settings, server(vllm)).command
    assert ("--no-scheduler-reserve-full-isl" in command) is given


def test_chaos_loads_both_plug_ins_and_names_the_control_folder() -> None:
    config = kv_transfer_config(ServerSettings(gpu_blocks=40, cpu_offload_mib=3, load_failure_policy="fail"))
    assert config == {
        "kv_connector": "ChaosConnector",
        "kv_connector_module_path": "chaos.inside.connector",
        "kv_role": "kv_both",
        "kv_load_failure_policy": "fail",
        "kv_connector_extra_config": {
            "cpu_bytes_to_use": 3 * 1024 * 1024,
            "spec_name": "ChaosSpec",
            "spec_module_path": "chaos.inside.spec",
            "kvchaos_control": "/run/control",
            "kvchaos_ledger": True,
        },
    }


def test_server_and_conductor_agree_on_the_name_of_the_control_key() -> None:
    assert CONTROL_KEY == process_globals.CONTROL_KEY


def test_server_without_chaos_gets_no_chaos_settings() -> None:
    settings = ServerSettings(gpu_blocks=40, cpu_offload_mib=3, chaos=False)
    assert kv_transfer_config(settings) == {
        "kv_connector": "OffloadingConnector",
        "kv_role": "kv_both",
        "kv_load_failure_policy": "recompute",
        "kv_connector_extra_config": {
            "cpu_bytes_to_use": 3 * 1024 * 1024,
            "spec_name": "HostCopySpec",
            "spec_module_path": "chaos.hostcopy.spec",
        },
    }


def test_synchronous_loads_use_a_separate_connector() -> None:
    config = kv_transfer_config(ServerSettings(gpu_blocks=40, sync_loads=True))
    assert config["kv_connector"] == "SyncChaosConnector"
    assert config["kv_connector_module_path"] == "chaos.inside.sync_connector"
    assert kv_transfer_config(ServerSettings(gpu_blocks=40))["kv_connector"] == "ChaosConnector"


def test_environment_of_a_chaos_server() -> None:
    assert launch(ServerSettings(gpu_blocks=40)).environment == {
        "DO_NOT_TRACK": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "HF_HUB_OFFLINE": "1",
        "LD_PRELOAD": "/lib/tcmalloc.so:/lib/iomp5.so",
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": "/run/plugin",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": "/t/kvchaos-1",
        "TORCHDYNAMO_DISABLE": "1",
        "VLLM_CPU_ATTN_SPLIT_KV": "0",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_RPC_BASE_PATH": "/t/kvchaos-1",
        "VLLM_SERVER_DEV_MODE": "1",
    }


def test_server_without_offload_gets_no_suite_settings() -> None:
    environment = launch(ServerSettings(gpu_blocks=40, offload=False), server(preload=())).environment
    assert not {"PYTHONPATH", "LD_PRELOAD"} & environment.keys()


def test_a_longest_request_that_just_fits_is_accepted() -> None:
    check_settings(ServerSettings(gpu_blocks=25, block_size=32, max_model_len=768))


def test_gpu_server_gets_no_cpu_platform_settings() -> None:
    started = launch(ServerSettings(gpu_blocks=80, block_size=16), device=device_of("cuda", {}))
    assert "--dtype" not in started.command
    assert started.command[started.command.index("--gpu-memory-utilization") + 1] == "0.8"
    assert not [name for name in started.environment if "CPU" in name or name.startswith("TORCH")]
    assert "HF_HUB_OFFLINE" not in started.environment


def test_batch_invariant_mode_is_off_unless_a_gpu_server_gets_it() -> None:
    wanted = {"KVCHAOS_BATCH_INVARIANT": "1"}
    assert device_of("cuda", wanted).environment["VLLM_BATCH_INVARIANT"] == "1"
    for device in (device_of("cuda", {}), device_of("cuda", {"KVCHAOS_BATCH_INVARIANT": "0"})):
        assert "VLLM_BATCH_INVARIANT" not in device.environment
    assert "VLLM_BATCH_INVARIANT" not in device_of("cpu", wanted).environment


def test_arguments_for_gpu_servers_come_last_and_reach_no_other_server() -> None:
    wanted = {"KVCHAOS_GPU_ARGS": "--kv-cache-dtype fp8 --attention-backend 'FLASH_ATTN'"}
    settings = ServerSettings(gpu_blocks=80, extra_args=("--seed", "7"))
    command = launch(settings, device=device_of("cuda", wanted)).command
    added = ("--kv-cache-dtype", "fp8", "--attention-backend", "FLASH_ATTN")
    assert command[-6:] == ("--seed", "7", *added)
    assert not set(added) & {*launch(settings, device=device_of("cpu", wanted)).command}


def test_gpu_server_without_graphs_is_a_variant() -> None:
    device = device_of("cuda", {"KVCHAOS_GPU_ARGS": "--enforce-eager"}, "workstation")
    started = launch(ServerSettings(gpu_blocks=80, block_size=16), device=device)
    assert started.command[-1] == "--enforce-eager"


def test_gpu_server_without_chaos_uses_native_offloading() -> None:
    config = kv_transfer_config(ServerSettings(gpu_blocks=40, chaos=False), device_of("cuda", {}))
    assert "spec_name" not in config["kv_connector_extra_config"]


@pytest.mark.parametrize(
    ("tier_mb", "token_bytes", "expected"),
    [
        (3, HUB_MODEL_TOKEN_BYTES, 3072 * HUB_MODEL_TOKEN_BYTES),
        (200, HUB_MODEL_TOKEN_BYTES, 2 * 2**30),
        (200, 1024, 200 * 2**20),
        (3, None, 2 * 2**30),
    ],
)
def test_gpu_tier_size_follows_the_scenario_up_to_a_limit(
    tier_mb: int, token_bytes: int | None, expected: int
) -> None:
    device = device_of("cuda", {"KVCHAOS_CPU_OFFLOAD_GIB": "2"})
    model = ServedModel("org/model", fingerprint="", token_bytes=token_bytes)
    config = kv_transfer_config(ServerSettings(gpu_blocks=40, cpu_offload_mib=tier_mb), device, model)
    assert config["kv_connector_extra_config"]["cpu_bytes_to_use"] == expected


def test_a_model_of_the_hub_is_served_at_a_revision() -> None:
    model = hub_model({"KVCHAOS_MODEL": "org/model", "KVCHAOS_MODEL_REVISION": "v2", "HF_HOME": "/nowhere"})
    command = " ".join(launch(ServerSettings(gpu_blocks=40), model=model).command)
    assert "--model org/model --served-model-name tiny --revision v2 " in command
    assert (model.fingerprint, model.token_bytes) == ("org/model@v2", None)


def test_the_size_of_a_token_is_read_from_a_model_that_was_fetched_before(tmp_path: Path) -> None:
    kept = tmp_path / "hub" / "models--org--model"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("abc\n")
    (kept / "snapshots" / "abc").mkdir(parents=True)
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2, "hidden_size": 512}
    (kept / "snapshots" / "abc" / "config.json").write_text(json.dumps({**sizes, "torch_dtype": "bfloat16"}))
    environ = {"KVCHAOS_MODEL": "org/model", "HF_HOME": str(tmp_path)}
    assert hub_model(environ).token_bytes == 2 * 3 * 2 * 64 * 2
    (kept / "snapshots" / "abc" / "config.json").write_text("[]")
    assert hub_model(environ).token_bytes is None
    assert hub_model({"HF_HOME": str(tmp_path)}).token_bytes == HUB_MODEL_TOKEN_BYTES


@pytest.mark.parametrize(
    ("arguments", "share"),
    [("", 1.0), ("--kv-cache-dtype auto", 1.0), ("--kv-cache-dtype fp8", 0.5), ("--kv_cache_dtype=fp8", 0.5)],
)
def test_cache_of_smaller_numbers_takes_fewer_bytes(arguments: str, share: float, tmp_path: Path) -> None:
    environ = {"KVCHAOS_GPU_ARGS": arguments, "HF_HOME": str(tmp_path)}
    assert hub_model(environ).token_bytes == HUB_MODEL_TOKEN_BYTES * share
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 8, "hidden_size": 512, "dtype": "float16"}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    assert hub_model({**environ, "KVCHAOS_MODEL": str(tmp_path)}).token_bytes == 2 * 3 * 512 * 2 * share


def test_folder_of_another_model_replaces_the_tiny_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert tiny_folder(tmp_path, {"KVCHAOS_TINY_MODEL": str(tmp_path)}) == tmp_path
    with pytest.raises(UsageError):
        tiny_folder(tmp_path, {"KVCHAOS_TINY_MODEL": str(tmp_path / "missing")})


def test_tiny_model_is_made_where_no_other_is_named(tmp_path: Path) -> None:
    assert tiny_folder(tmp_path, {}).is_relative_to(tmp_path)
