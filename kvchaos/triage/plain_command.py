"""The command of a run's server without this suite: for a machine with a GPU. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from kvchaos.stacks.server_command import AUDIT_KEY, CONTROL_KEY, LEDGER_KEY, PLAIN_CONNECTOR

LEFT_OUT = frozenset({"--model", "--served-model-name", "--host", "--port", "--revision", "--dtype"})
"""Flags with a value that belong to the machine or to the small model of the suite."""
CONFIG = "--kv-transfer-config"
OF_THE_SUITE = ("spec_name", "spec_module_path", CONTROL_KEY, AUDIT_KEY, LEDGER_KEY)


def plain_command(command: Sequence[str]) -> str:
    """`vllm serve MODEL` with the settings of a recorded command, and vLLM's own connector."""
    arguments = list(command[command.index("-m") + 2 :]) if "-m" in command else list(command[1:])
    kept: list[str] = []
    while arguments:
        flag = arguments.pop(0)
        if flag in LEFT_OUT:
            arguments.pop(0)
        elif flag == CONFIG:
            kept += [CONFIG, _plain_config(arguments.pop(0))]
        else:
            kept.append(flag)
    return f"vllm serve MODEL {shlex.join(kept)}"


def _plain_config(text: str) -> str:
    """The connector without the chaos module, whose spec is that of the suite."""
    config: dict[str, Any] = json.loads(text)
    config["kv_connector"] = PLAIN_CONNECTOR
    config.pop("kv_connector_module_path", None)
    extra: dict[str, Any] = config.get("kv_connector_extra_config", {})
    for key in OF_THE_SUITE:
        extra.pop(key, None)
    return json.dumps(config)
