"""What a machine must have for a run on a GPU, in containers or without, each check with its fix.

Checks are pure functions of what was found; `examine` and `examine_local` find it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvchaos.doctor.check import GIB, Check, CheckState
from kvchaos.errors import UsageError
from kvchaos.servers.served_model import hub_folder, hub_model
from kvchaos.servers.server_registry import ServerEnv, find_server

ENGINE = "Docker engine"
COMPOSE = "Docker Compose"
DRIVER = "NVIDIA driver"
RUNTIME = "NVIDIA runtime"
CARD = "GPU memory"
MODEL = "model"
IMAGES = "disk for images"

MIN_COMPOSE = (2, 20)
MIN_CARD_MIB = 8 * 1024
"""The small default model, its few blocks and vLLM's own buffers take about 6 GiB."""
IMAGE_GIB = 30
"""The server's image, unpacked, with what its download takes beside it."""
COMMAND_TIMEOUT_S = 20.0
OFFLINE = "HF_HUB_OFFLINE"


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU, as the driver reports it."""

    name: str
    memory_mib: int
    driver: str


def require(checks: Iterable[Check]) -> None:
    """Raises UsageError with a line for each thing that is missing."""
    missing = [check for check in checks if check.state is CheckState.BAD]
    if missing:
        raise UsageError("\n".join(f"{check.name}: {check.found}; {check.fix}" for check in missing))


def examine(port: int | None, environ: Mapping[str, str] = os.environ) -> Iterator[Check]:
    """Check this machine for `--stack compose-gpu`; without a Docker engine its checks are left out.

    `port` is the one that the server shall have, None for any.
    """
    yield from _cards()
    info = parse_info(_output_of("docker", "info", "--format", "{{json .}}"))
    yield check_engine(installed=shutil.which("docker") is not None, info=info)
    yield check_compose(_output_of("docker", "compose", "version", "--short"))
    if info is not None:
        yield check_runtime(info)
        root = Path(str(info.get("DockerRootDir", "/")))
        yield check_images(root, _free(root))
    yield from _model_and_port(port, environ)


def examine_local(
    server: str, cache: Path, port: int | None, environ: Mapping[str, str] = os.environ
) -> Iterator[Check]:
    """Look at this machine and at the build of a server environment, for a run without containers."""
    yield from _cards()
    yield _build(server, cache)
    yield from _model_and_port(port, environ)


def installed_cards() -> list[Card]:
    """The GPUs of this machine; none where there is no driver."""
    query = "--query-gpu=name,memory.total,driver_version"
    return parse_cards(_output_of("nvidia-smi", query, "--format=csv"))


def _cards() -> Iterator[Check]:
    cards = installed_cards()
    yield check_driver(cards)
    if cards:
        yield check_card(cards)


def _build(name: str, cache: Path) -> Check:
    try:
        server = find_server(name, cache)
    except UsageError as error:
        found, _, fix = str(error).partition("; ")
        return Check("server", CheckState.BAD, found, fix)
    return check_build(server)


def _model_and_port(port: int | None, environ: Mapping[str, str]) -> Iterator[Check]:
    offline = environ.get(OFFLINE, "0") not in ("", "0")
    yield check_model(hub_model(environ).name, hub_folder(environ), offline=offline)
    if port is not None:
        yield check_port(port, free=_is_free(port))


def parse_cards(text: str | None) -> list[Card]:
    """The cards of `nvidia-smi --format=csv`; none when its output is empty or unknown."""
    rows = [line.split(", ") for line in (text or "").splitlines()[1:]]
    return [
        Card(row[0], int(row[1].removesuffix(" MiB")), row[2])
        for row in rows
        if len(row) == 3 and row[1].removesuffix(" MiB").isdigit()
    ]


def parse_info(text: str | None) -> dict[str, Any] | None:
    """The output of `docker info`; None when no engine answered."""
    try:
        info = json.loads(text or "")
    except json.JSONDecodeError:
        return None
    return info if isinstance(info, dict) and info.get("ServerVersion") else None


def check_driver(cards: Sequence[Card]) -> Check:
    """Check that `nvidia-smi` lists a GPU."""
    if not cards:
        fix = "install the driver of your card, and check that nvidia-smi lists it"
        return Check(DRIVER, CheckState.BAD, "nvidia-smi lists no GPU", fix)
    return Check(DRIVER, CheckState.OK, f"{cards[0].driver}, {', '.join(card.name for card in cards)}")


def check_card(cards: Sequence[Card]) -> Check:
    """Check that a GPU has `MIN_CARD_MIB` of memory or more."""
    most = max(card.memory_mib for card in cards)
    found = f"{most} MiB"
    if most < MIN_CARD_MIB:
        return Check(CARD, CheckState.BAD, found, f"use a card with {MIN_CARD_MIB} MiB or more")
    return Check(CARD, CheckState.OK, found)


def check_build(server: ServerEnv) -> Check:
    """An installed server is always a build for the CPU; an added one was examined when it was added."""
    name = f"server {server.name}"
    if server.platform != "cuda":
        fix = "add a CUDA build with: kvchaos server add NAME --python PATH, and name it with --server"
        return Check(name, CheckState.BAD, f"is a build for the CPU (torch {server.torch})", fix)
    return Check(name, CheckState.OK, f"vLLM {server.vllm}, torch {server.torch}")


def check_engine(*, installed: bool, info: Mapping[str, Any] | None) -> Check:
    """Check that Docker is installed, runs, and may be used."""
    if not installed:
        return Check(ENGINE, CheckState.BAD, "no docker command", "install Docker Engine")
    if info is None:
        fix = "start it (sudo systemctl start docker), and be in the group docker"
        return Check(ENGINE, CheckState.BAD, "does not answer", fix)
    return Check(ENGINE, CheckState.OK, str(info["ServerVersion"]))


def check_compose(version: str | None) -> Check:
    """Check that Compose has a supported version."""
    found = (version or "").strip().removeprefix("v")
    numbers = found.split(".")[:2]
    if not all(number.isdigit() for number in numbers):
        return Check(COMPOSE, CheckState.BAD, "missing", "install the plug-in docker-compose-plugin")
    if tuple(map(int, numbers)) < MIN_COMPOSE:
        return Check(COMPOSE, CheckState.BAD, found, f"install {MIN_COMPOSE[0]}.{MIN_COMPOSE[1]} or later")
    return Check(COMPOSE, CheckState.OK, found)


def check_runtime(info: Mapping[str, Any]) -> Check:
    """Either the engine has the runtime, or it knows the cards as CDI devices."""
    devices = [device for device in info.get("DiscoveredDevices") or () if "nvidia.com" in str(device)]
    if "nvidia" not in (info.get("Runtimes") or {}) and not devices:
        fix = (
            "install nvidia-container-toolkit, then: "
            "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
        )
        return Check(RUNTIME, CheckState.BAD, "the Docker engine cannot reach a GPU", fix)
    return Check(RUNTIME, CheckState.OK, "CDI" if devices else "nvidia")


def check_images(root: Path, free: int | None) -> Check:
    """Check that the disk has space for images, bytes; a warning if not."""
    if free is None:
        fix = f"free {IMAGE_GIB} GiB"
        return Check(IMAGES, CheckState.WARN, f"{root} cannot be looked at", fix)
    found = f"{free / GIB:.0f} GiB free in {root}"
    if free < IMAGE_GIB * GIB:
        return Check(
            IMAGES, CheckState.WARN, found, f"the image takes up to {IMAGE_GIB} GiB: docker image prune"
        )
    return Check(IMAGES, CheckState.OK, found)


def check_model(model: str, hub: Path, *, offline: bool) -> Check:
    """A model is a folder of this machine, or the name of one that is downloaded into the hub's cache."""
    if Path(model).is_absolute():
        if not (Path(model) / "config.json").is_file():
            return Check(MODEL, CheckState.BAD, f"{model} holds no config.json", "give a model's folder")
        return Check(MODEL, CheckState.OK, model)
    if (hub / "hub" / f"models--{model.replace('/', '--')}" / "snapshots").is_dir():
        return Check(MODEL, CheckState.OK, f"{model}, in {hub}")
    if offline:
        return Check(
            MODEL, CheckState.BAD, f"{model} is not in {hub}", f"unset {OFFLINE}, or give a model's folder"
        )
    return Check(MODEL, CheckState.OK, f"{model}, downloaded at the first start")


def check_port(port: int, *, free: bool) -> Check:
    """Check that a chosen port is free."""
    if not free:
        return Check(f"port {port}", CheckState.BAD, "in use", "end what listens there, or choose another")
    return Check(f"port {port}", CheckState.OK, "free")


def _output_of(*command: str) -> str | None:
    """The output of a command; None when there is no such command, it fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=COMMAND_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
