"""Who was measured, and what has to be equal for the figures of two nights to belong to one series."""

from __future__ import annotations

import hashlib
import re

import msgspec
from msgspec.structs import replace
from packaging.version import Version

from history.scenario import ClientKind, Scenario, StackName
from history.stack_capabilities import CAPABILITIES
from kvchaos.doctor.gpu import installed_cards
from kvchaos.doctor.machine_checks import processor_name
from kvchaos.matrix.digests import Code, portable_scenario
from kvchaos.nightly.night_records import Digest, MachineIdentity, ServerBuild
from kvchaos.planning.run_plan import UNKNOWN, host
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.attach import AttachedServer

COMMIT = re.compile(r"g([0-9a-f]{7,40})\b")
"""A commit in the label of a development build: 0.33.0.dev12+g1a2b3c4d5."""
DIGITS = 16


def machine_identity() -> MachineIdentity:
    """Identify this machine: kernel, processors, memory, GPUs and their driver."""
    cards = installed_cards()
    return MachineIdentity(
        host=host(),
        processor=processor_name() or UNKNOWN,
        gpus=[f"{card.name}, {card.memory_mib} MiB" for card in cards],
        driver=cards[0].driver if cards else None,
    )


def server_build(server: ServerEnv | AttachedServer) -> ServerBuild:
    """Identify a server; the commit only where its version says it."""
    label = Version(server.vllm).local or ""
    commit = COMMIT.search(label)
    return ServerBuild(
        name=server.name,
        vllm=server.vllm,
        commit=commit[1] if commit else None,
        torch=_known(server.torch),
        python=_known(server.python_version),
    )


def series_identity(
    machine: MachineIdentity,
    control: ServerBuild,
    scenario: Scenario,
    model: str,
    code: Code,
    load: tuple[StackName, ClientKind, int],
) -> Digest:
    """Digest of all but the candidate. `load`: stack, client, and number of load workers."""
    # A running server is named by its address, which says nothing about the build.
    pinned = control if CAPABILITIES[load[0]].starts_server else replace(control, name="attached")
    parts = [machine, pinned, portable_scenario(scenario), model, code.making, list(load)]
    encoded = msgspec.json.encode(parts, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:DIGITS]


def _known(text: str) -> str | None:
    return text if text != UNKNOWN else None
