"""How much a server's memory may grow where there are too few quiet moments for a slope."""

from __future__ import annotations

from history.reader import History
from oracles.inputs import EVENTS, METRICS, RESOURCES
from oracles.rule import Rule

MIB = 1 << 20
ROOM_MIB = 512
"""Buffers, pools and code that a phase uses first. Servers of a tiny model grew by up to 156 MiB."""
MEMORY_AT_END = Rule(
    "resources/memory-at-end",
    f"The server has at most {ROOM_MIB} MiB more memory at the end than when it was first quiet, "
    "besides its KV caches.",
    "operating system",
    (RESOURCES, EVENTS, METRICS),
    "the server did not come to a quiet end, or the bytes of a token are not known",
)


def allowed_mib(history: History) -> float | None:
    """Pages of the tier, and of a KV cache in host memory, count once they are written.

    None where the size of the caches is not known.
    """
    server, token_bytes = history.plan.scenario.server, history.plan.kv_token_bytes
    if history.plan.stack == "attach" or token_bytes is None:
        return None
    tier_mib = server.cpu_tier_mb if server.offload else 0
    return ROOM_MIB + tier_mib + server.gpu_blocks * server.block_size * token_bytes / MIB
