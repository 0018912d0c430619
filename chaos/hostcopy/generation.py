"""Which plug-in API the installed vLLM offers: told by what it contains, not by its version."""

from __future__ import annotations

from importlib.util import find_spec

G2 = "G2"
"""0.18: handlers by direction, block hashes, one process."""
G8 = "G8"
"""0.26 to 0.32: one worker, OffloadKey, own configuration."""

_PACKAGE = "vllm.v1.kv_offload"


class UnknownGeneration(ImportError):
    """The installed vLLM offers a plug-in API that no adapter here speaks."""


def detect() -> str:
    """Name of the generation. Raises UnknownGeneration."""
    if _has("config") and _has("base"):
        from vllm.v1.kv_offload import base

        if not hasattr(base, "ConfigInfo"):
            return G8
    elif _has("reuse_manager") and _has("cpu") and _has("abstract") and not _has("cpu.spec"):
        return G2
    raise UnknownGeneration(
        "this vLLM has an offloading plug-in API that kvchaos has no adapter for; "
        "it has them for 0.18 (G2) and 0.26 to 0.32 (G8)"
    )


def _has(module: str) -> bool:
    try:
        return find_spec(f"{_PACKAGE}.{module}") is not None
    except ModuleNotFoundError:
        return False
