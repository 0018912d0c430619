"""The exact command and environment of a server under test, as a pure function of its settings.

The value of `--kv-transfer-config` among them: how it offloads, and which plug-ins it loads for that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from history.scenario import ServerSettings
from kvchaos.errors import UsageError
from kvchaos.servers.gpu_arguments import GPU_ARGS_VARIABLE, flag_of
from kvchaos.servers.served_model import ServedModel
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.device import CPU, Device, tier_bytes

HOST = "127.0.0.1"
MODEL_NAME = "tiny"
KEPT_BLOCKS = 1
"""vLLM keeps the first block of the pool for itself."""
RESERVE_FLAG_SINCE = Version("0.19")
"""Releases before admit a request without room for its whole prompt and have no flag for it."""
UNBOUND_SINCE = Version("0.22")
"""Servers on a CPU bind no OpenMP thread. By default 0.32 pins one to each processor, and beside other load
each waits for the other: four times slower. 0.20.2 dies of the setting at its start; 0.21 was not tried."""

OWN_FLAGS = frozenset(
    {
        "--model",
        "--revision",
        "--served-model-name",
        "--host",
        "--port",
        "--block-size",
        "--num-gpu-blocks-override",
        "--dtype",
        "--enforce-eager",
        "--gpu-memory-utilization",
        "--max-model-len",
        "--max-num-batched-tokens",
        "--enable-chunked-prefill",
        "--enable-prompt-tokens-details",
        "--kv-transfer-config",
        "--no-scheduler-reserve-full-isl",
        "--scheduler-reserve-full-isl",
    }
)
NOT_ADDED = OWN_FLAGS - {"--enforce-eager"} | {"--tensor-parallel-size", "-tp"}
"""Flags that the user must not add for all servers on a GPU."""


@dataclass(frozen=True, slots=True)
class RunFolders:
    """Folders of a run that the server gets in its command and environment."""

    temp: Path
    """Folder for sockets and temporary files; a short path, removed when the server has ended."""
    plugin: Path
    """Holds a link to the chaos package and nothing else: all that the server sees of the suite."""
    control: Path
    """The armed schedule and the fault journals."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is started."""

    command: tuple[str, ...]
    environment: dict[str, str]
    """What is added to the inherited environment."""
    port: int
    host: str = HOST
    """The address for the suite: loopback, unless load workers elsewhere need another address."""

    @property
    def base_url(self) -> str:
        """Address of the server."""
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Listening:
    """Address at which the server listens, and how it sees the machine."""

    port: int
    host: str = HOST


def plan_launch(
    server: ServerEnv,
    settings: ServerSettings,
    model: ServedModel,
    listening: Listening,
    folders: RunFolders,
    device: Device = CPU,
) -> Launch:
    """Raises UsageError with one line for settings that cannot work."""
    check_settings(settings, device)
    check_port(listening.port)
    return Launch(
        command=_command(server, settings, model, listening, folders.control, device),
        environment=_environment(server, settings, folders, device),
        port=listening.port,
        host=listening.host,
    )


def check_port(port: int) -> None:
    """Raises UsageError."""
    if not 1 <= port <= 65535:
        raise UsageError(f"port {port}: use a number from 1 to 65535")


def check_settings(settings: ServerSettings, device: Device = CPU) -> None:
    """Raises UsageError for settings that no release can serve with."""
    if settings.block_size % device.block_multiple:
        raise UsageError(
            f"server.block_size {settings.block_size}: attention there needs a multiple of "
            f"{device.block_multiple}"
        )
    needed = -(-settings.max_model_len // settings.block_size) + KEPT_BLOCKS
    if settings.gpu_blocks < needed:
        # Some releases accept such a prompt and let it wait for ever.
        raise UsageError(
            f"server.gpu_blocks {settings.gpu_blocks}: a request of server.max_model_len "
            f"{settings.max_model_len} tokens can never fit; use {needed} or more"
        )
    for flag in map(flag_of, settings.extra_args):
        if flag in OWN_FLAGS:
            raise UsageError(f"server.extra_args: {flag} is set from the other server settings; leave it out")
    for flag in map(flag_of, device.extra_args):
        if flag in NOT_ADDED:
            raise UsageError(f"{GPU_ARGS_VARIABLE}: kvchaos sets {flag} itself; leave it out")


def _command(
    server: ServerEnv,
    settings: ServerSettings,
    model: ServedModel,
    listening: Listening,
    control: Path,
    device: Device,
) -> tuple[str, ...]:
    command = [str(server.python), "-m", server.entry_module]
    command += ["--model", model.name, "--served-model-name", MODEL_NAME]
    if model.revision is not None:
        command += ["--revision", model.revision]
    command += ["--host", listening.host, "--port", str(listening.port)]
    command += ["--block-size", str(settings.block_size)]
    command += ["--num-gpu-blocks-override", str(settings.gpu_blocks)]
    command += device.flags
    command += ["--max-model-len", str(settings.max_model_len)]
    command += ["--max-num-batched-tokens", str(settings.max_batched_tokens), "--enable-chunked-prefill"]
    command += ["--enable-prompt-tokens-details"]
    if settings.offload:
        command += ["--kv-transfer-config", kv_transfer_config(settings, model, control, device)]
    if not settings.reserve_full_prompt and server.release >= RESERVE_FLAG_SINCE:
        command += ["--no-scheduler-reserve-full-isl"]
    return (*command, *settings.extra_args, *device.extra_args)


def _environment(
    server: ServerEnv, settings: ServerSettings, folders: RunFolders, device: Device
) -> dict[str, str]:
    environment = {
        "DO_NOT_TRACK": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(folders.temp),
        "VLLM_HOST_IP": HOST,
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_RPC_BASE_PATH": str(folders.temp),
        "VLLM_SERVER_DEV_MODE": "1",
        **device.environment,
    }
    if device.host_copies and server.release >= UNBOUND_SINCE:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    if server.preload:
        environment["LD_PRELOAD"] = ":".join(server.preload)
    if settings.offload:
        environment["PYTHONPATH"] = str(folders.plugin)
    return environment


CHAOS_CONNECTOR = "ChaosConnector"
CHAOS_CONNECTOR_MODULE = "chaos.inside.connector"
SYNC_CONNECTOR = "SyncChaosConnector"
SYNC_CONNECTOR_MODULE = "chaos.inside.sync_connector"
CHAOS_SPEC = "ChaosSpec"
CHAOS_SPEC_MODULE = "chaos.inside.spec"
PLAIN_CONNECTOR = "OffloadingConnector"
PLAIN_SPEC = "HostCopySpec"
PLAIN_SPEC_MODULE = "chaos.hostcopy.spec"
PROMPT_BLOCKS_KEY = "offload_prompt_only"
"""Releases that do not have it pass it over."""
CONTROL_KEY = "kvchaos_control"
AUDIT_KEY = "kvchaos_audit"
LEDGER_KEY = "kvchaos_ledger"


def kv_transfer_config(settings: ServerSettings, model: ServedModel, control: Path, device: Device) -> str:
    """The value of --kv-transfer-config. `control` is the folder as the server sees it."""
    extra: dict[str, str | int | bool] = {"cpu_bytes_to_use": tier_bytes(settings, model, device)}
    if not settings.prompt_blocks_only:
        extra[PROMPT_BLOCKS_KEY] = False
    config: dict[str, object] = {
        "kv_connector": PLAIN_CONNECTOR,
        "kv_role": "kv_both",
        "kv_load_failure_policy": settings.load_failure_policy,
        "kv_connector_extra_config": extra,
    }
    if settings.chaos:
        connector, module = (
            (SYNC_CONNECTOR, SYNC_CONNECTOR_MODULE)
            if settings.sync_loads
            else (CHAOS_CONNECTOR, CHAOS_CONNECTOR_MODULE)
        )
        config |= {"kv_connector": connector, "kv_connector_module_path": module}
        extra |= {"spec_name": CHAOS_SPEC, "spec_module_path": CHAOS_SPEC_MODULE, CONTROL_KEY: str(control)}
        if settings.ledger:
            extra |= {LEDGER_KEY: True}
        if settings.audit:
            extra |= {AUDIT_KEY: True}
    elif device.host_copies:
        extra |= {"spec_name": PLAIN_SPEC, "spec_module_path": PLAIN_SPEC_MODULE}
    return json.dumps(config)
