"""The server environment of a build: a release, a registered name, or vLLM from a wheel or from source."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

from uv import find_uv_bin

from kvchaos.errors import UsageError
from kvchaos.paths import builds_folder
from kvchaos.servers.install_server import add, install, remove
from kvchaos.servers.installation import CommandFailed, InstallProgress, Runner
from kvchaos.servers.interpreters import configured_find_links
from kvchaos.servers.releases import TABLE
from kvchaos.servers.server_registry import find_server, read_server, server_folder

SOURCE_OF_GIT = re.compile(r"git\+[a-z]+://\S+")
URL_OF_WHEEL = re.compile(r"(https|file)://\S+\.whl")
LOG = "build.log"
TARGET_VARIABLE = "KVCHAOS_TARGET_DEVICE"
"""Handed to the build alone as VLLM_TARGET_DEVICE: cpu, cuda or another target of vLLM's build."""


def ensure_server(wanted: str, cache: Path, progress: InstallProgress) -> str:
    """The name of a server environment for `wanted`, installed or built where it is missing.

    A release is installed, a registered name is used as it is. A wheel, a folder with one wheel or with
    vLLM's source, and git+URL@REF are built again each time, since the same text can mean another commit.
    Raises UsageError.
    """
    source = source_of(wanted)
    if source is not None:
        return _build(wanted, source, cache, progress)
    if wanted in TABLE and read_server(server_folder(wanted, cache)) is None:
        install(wanted, cache, progress)
    return find_server(wanted, cache).name


def source_of(wanted: str) -> str | None:
    """What pip would install; None for the name of an environment. Raises UsageError."""
    if SOURCE_OF_GIT.fullmatch(wanted) or URL_OF_WHEEL.fullmatch(wanted):
        return f"vllm @ {wanted}"
    path = Path(wanted).expanduser().absolute()
    if wanted.endswith(".whl"):
        if not path.is_file():
            raise UsageError(f"{wanted}: no such wheel")
        return str(path)
    if "/" not in wanted:
        return None
    wheels = sorted(path.glob("*.whl"))
    if len(wheels) == 1:
        return str(wheels[0])
    if not wheels and (path / "pyproject.toml").is_file():
        return str(path)
    raise UsageError(f"{wanted}: not a folder with one wheel or with vLLM's source")


def build_name(wanted: str) -> str:
    """The name of the environment; the same for the same text."""
    return f"build-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"


def _build(wanted: str, source: str, cache: Path, progress: InstallProgress) -> str:
    name = build_name(wanted)
    folder = builds_folder(cache) / name
    if server_folder(name, cache).is_dir():
        remove(name, cache, progress)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    runner = Runner(progress, folder, folder / LOG)
    uv, env = find_uv_bin(), folder / "env"
    python = env / "bin" / "python"
    links = [
        argument
        for link in configured_find_links(Path(sys.executable))
        for argument in ("--find-links", link)
    ]
    target = os.environ.get(TARGET_VARIABLE)
    environment = {
        "UV_SYSTEM_CERTS": "1",
        **os.environ,
        **({"VLLM_TARGET_DEVICE": target} if target else {}),
    }
    progress.step(f"server {name}: installing {wanted}")
    try:
        runner.run([uv, "venv", "--no-project", "--python", sys.executable, env], environment)
        runner.run([uv, "pip", "install", "--python", python, *links, source], environment)
    except CommandFailed as error:
        raise UsageError(f"server {name}: {error}; all output is in {runner.log}") from error
    return add(name, python, cache, progress).name
