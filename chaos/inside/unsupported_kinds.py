"""The faults that the installed vLLM has no injection point for: it never calls the method they need."""

from __future__ import annotations

from importlib import import_module

from chaos.inside.inside_kinds import KINDS


def unsupported_kinds() -> dict[str, str]:
    """Kinds of fault that can never fire here, each with the reason."""
    connector = import_module("vllm.distributed.kv_transfer.kv_connector.v1").KVConnectorBase_V1
    return {
        kind.name: f"{kind.name} answers {kind.call}, which vLLM calls {kind.releases} and not here"
        for kind in KINDS.values()
        if kind.call and not hasattr(connector, kind.call)
    }
