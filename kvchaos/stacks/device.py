"""What sets a server on a CPU apart from one on a GPU: its flags, its environment, its offload tier."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from history.scaling import ScaleName
from history.scenario import ServerSettings
from kvchaos.errors import UsageError
from kvchaos.servers.gpu_arguments import gpu_args
from kvchaos.servers.served_model import ServedModel
from kvchaos.servers.tiny_model import BYTES_PER_TOKEN as TINY_TOKEN_BYTES

Platform = Literal["cpu", "cuda"]

MEMORY_SHARE_VARIABLE = "KVCHAOS_GPU_MEMORY_SHARE"
MEMORY_SHARE = 0.8
"""A screen may need the rest. KV blocks take little: a scenario says how many there are on any card."""
TIER_LIMIT_VARIABLE = "KVCHAOS_CPU_OFFLOAD_GIB"
TIER_LIMIT_GIB = 8.0
HOST_SHARE = 0.4
BATCH_INVARIANT_VARIABLE = "KVCHAOS_BATCH_INVARIANT"
OFFLINE_VARIABLE = "HF_HUB_OFFLINE"
GIB = 2**30
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Device:
    """The kind of processor that a server computes on."""

    block_multiple: int
    """Attention takes blocks of a multiple of so many tokens."""
    flags: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    host_copies: bool = False
    """vLLM's own offloading refuses this platform; plain tensor copies stand in for it."""
    tier_limit: int | None = None
    """The offload tier takes at most so many bytes of host memory; None: what the scenario says."""
    extra_args: tuple[str, ...] = ()
    """Arguments of vLLM that the user adds, such as an attention backend."""


CPU = Device(
    block_multiple=32,
    flags=("--dtype", "float32", "--enforce-eager"),
    environment={
        OFFLINE_VARIABLE: "1",
        # Eager through and through: no C++ compiler is needed, nor the 20 s it takes at the first request.
        "TORCHDYNAMO_DISABLE": "1",
        # Attention split by batch size sums in another order, and answers differ in their last bits.
        "VLLM_CPU_ATTN_SPLIT_KV": "0",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    },
    host_copies=True,
)


def device_of(
    platform: Platform,
    environ: Mapping[str, str] = os.environ,
    scale: ScaleName = "tiny",
    host: int | None = None,
) -> Device:
    """At the scale `tiny` a GPU serves without CUDA graphs, otherwise as vLLM does by default.

    `host`: memory of the host, bytes; None: of this machine.
    Raises UsageError for variables that are no numbers, or out of range.
    """
    if platform == "cpu":
        return CPU
    share = ("--gpu-memory-utilization", f"{memory_share(environ):g}")
    return Device(
        block_multiple=16,
        flags=("--enforce-eager", *share) if scale == "tiny" else share,
        environment=_gpu_environment(environ),
        tier_limit=tier_limit(environ, scale, host),
        extra_args=gpu_args(environ),
    )


def _gpu_environment(environ: Mapping[str, str]) -> dict[str, str]:
    offline = {OFFLINE_VARIABLE: environ[OFFLINE_VARIABLE]} if OFFLINE_VARIABLE in environ else {}
    return offline | ({"VLLM_BATCH_INVARIANT": "1"} if batch_invariant(environ) else {})


def batch_invariant(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a server on a GPU sums in one order, whatever the batch. Raises UsageError."""
    text = environ.get(BATCH_INVARIANT_VARIABLE) or "0"
    if text not in ("0", "1"):
        raise UsageError(f"{BATCH_INVARIANT_VARIABLE} is {text!r}: use 1 for on, 0 for off")
    return text == "1"


def memory_share(environ: Mapping[str, str] = os.environ) -> float:
    """Share of a card's memory that vLLM may use. Raises UsageError."""
    return _number(environ, MEMORY_SHARE_VARIABLE, MEMORY_SHARE, most=1.0)


def tier_limit(
    environ: Mapping[str, str] = os.environ, scale: ScaleName = "tiny", host: int | None = None
) -> int:
    """The most bytes of the offload tier. Raises UsageError.

    Beyond the scale `tiny` the default is a share of the host's memory, since vLLM pins the tier and the host
    needs the rest. `host`: that memory, bytes; None: of this machine.
    """
    default = TIER_LIMIT_GIB if scale == "tiny" else (host or host_bytes()) * HOST_SHARE / GIB
    return int(_number(environ, TIER_LIMIT_VARIABLE, default, most=4096.0) * GIB)


def host_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def tier_bytes(settings: ServerSettings, model: ServedModel, device: Device) -> int:
    """Size of the offload tier: it holds as many tokens as the scenario's tier holds of the tiny model.

    Scenarios that need a tier smaller than what they ask of it stay so with every model.
    """
    tiny_bytes = settings.cpu_offload_mib * MIB
    if device.tier_limit is None:
        return tiny_bytes
    if model.token_bytes is None:
        return device.tier_limit
    return min(tiny_bytes // TINY_TOKEN_BYTES * model.token_bytes, device.tier_limit)


def _number(environ: Mapping[str, str], variable: str, default: float, *, most: float) -> float:
    text = environ.get(variable)
    try:
        number = float(text) if text else default
    except ValueError:
        number = -1.0
    if not 0.0 < number <= most:
        raise UsageError(f"{variable} is {text!r}: use a number above 0, at most {most:g}")
    return number
