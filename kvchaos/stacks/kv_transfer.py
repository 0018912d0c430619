"""The value of `--kv-transfer-config`: how a server offloads, and which plug-ins it loads for that."""

from __future__ import annotations

import json
from pathlib import Path

from history.scenario import ServerSettings
from kvchaos.servers.served_model import ServedModel
from kvchaos.stacks.device import Device, tier_bytes

CHAOS_CONNECTOR = "ChaosConnector"
CHAOS_CONNECTOR_MODULE = "chaos.inside.connector"
SYNC_CONNECTOR = "SyncChaosConnector"
SYNC_CONNECTOR_MODULE = "chaos.inside.sync_connector"
CHAOS_SPEC = "ChaosSpec"
CHAOS_SPEC_MODULE = "chaos.inside.spec"
PLAIN_CONNECTOR = "OffloadingConnector"
PLAIN_SPEC = "HostCopySpec"
PLAIN_SPEC_MODULE = "chaos.hostcopy.spec"
CONTROL_KEY = "kvchaos_control"
AUDIT_KEY = "kvchaos_audit"


def kv_transfer_config(settings: ServerSettings, model: ServedModel, control: Path, device: Device) -> str:
    """The value of --kv-transfer-config. `control` is the folder as the server sees it."""
    extra: dict[str, str | int | bool] = {"cpu_bytes_to_use": tier_bytes(settings, model, device)}
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
        if settings.audit:
            extra |= {AUDIT_KEY: True}
    elif device.host_copies:
        extra |= {"spec_name": PLAIN_SPEC, "spec_module_path": PLAIN_SPEC_MODULE}
    return json.dumps(config)
