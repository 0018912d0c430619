"""The registered server environments. Each has a folder, and in it a marker written last of all."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from packaging.version import InvalidVersion, Version
from pydantic import ValidationError, field_validator

from history.strict_model import Strict
from kvchaos.errors import UsageError
from kvchaos.paths import servers_folder
from kvchaos.servers.releases import TABLE

MARKER = "server.json"
CPUINFO = Path("/proc/cpuinfo")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


class ServerEnv(Strict):
    """A Python environment that vLLM can be started from."""

    name: str
    kind: Literal["installed", "added", "image"]
    """installed: made by this software and removed with it; added: only registered, never changed; image:
    of a container."""
    platform: Literal["cpu", "cuda"] = "cpu"
    vllm: str
    """Version, as vLLM itself reports it."""
    torch: str
    """Version with its build, such as 2.13.0+cpu."""
    python: Path
    """The environment's interpreter; not resolved, since a link is what makes it this environment's."""
    python_version: str
    preload: tuple[str, ...]
    """Libraries for LD_PRELOAD, absolute paths."""
    entry_module: str
    """Starts the server when run with `python -m`."""

    @field_validator("vllm")
    @classmethod
    def _is_version(cls, text: str) -> str:
        try:
            Version(text)
        except InvalidVersion as error:
            raise ValueError(f"not a version: {text!r}") from error
        return text

    @property
    def release(self) -> Version:
        """vLLM's version without the label of its build."""
        return Version(Version(self.vllm).public)

    def missing_files(self) -> list[Path]:
        """What the environment needs and is not there any more."""
        return [path for path in (self.python, *map(Path, self.preload)) if not path.is_file()]


def logprob_tolerance(server: ServerEnv, cpuinfo: Path = CPUINFO) -> float:
    """Allowed difference of equal answers' logprobs on this machine; 0 for a registered build."""
    ours = server.kind != "added" and server.platform == "cpu"
    known = TABLE.get(server.name) if ours else None
    return known.logprob_tolerance(avx512="avx512f" in cpuinfo.read_text().split()) if known else 0.0


def check_name(name: str) -> None:
    """Raises UsageError for a name that cannot be a folder's name here."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"server name {name!r}: use letters, digits and . _ + - only, the first a letter or digit"
        )


def server_folder(name: str, cache: Path) -> Path:
    """The folder of a server environment. Raises UsageError for an impossible name."""
    check_name(name)
    return servers_folder(cache) / name


def read_server(folder: Path) -> ServerEnv | None:
    """The content of the marker in a folder; None when there is none. Raises UsageError when it is broken."""
    marker = folder / MARKER
    try:
        text = marker.read_text()
    except FileNotFoundError:
        return None
    try:
        return ServerEnv.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise UsageError(
            f"{marker}: {where}: {first['msg']}; remove it with: kvchaos server remove {folder.name}"
        ) from error


def write_server(folder: Path, server: ServerEnv) -> None:
    """Write the marker in one step: it is there whole or not at all."""
    draft = folder / f".{MARKER}.{os.getpid()}"
    draft.write_text(server.model_dump_json(indent=1) + "\n")
    draft.replace(folder / MARKER)


def list_servers(cache: Path) -> list[ServerEnv]:
    """All server environments, by release, then name. Raises UsageError when a marker is broken."""
    folders = sorted(path.parent for path in servers_folder(cache).glob(f"*/{MARKER}"))
    servers = [server for folder in folders if (server := read_server(folder)) is not None]
    return sorted(servers, key=lambda server: (server.release, server.name))


def find_server(name: str, cache: Path) -> ServerEnv:
    """Return a server environment by name. Raises UsageError that names the command to repair it."""
    server = read_server(server_folder(name, cache))
    if server is None:
        raise UsageError(f"no server named {name}; {_how_to_get(name)}")
    missing = server.missing_files()
    if missing:
        raise UsageError(f"server {name}: {missing[0]} does not exist any more; {_how_to_fix(server)}")
    return server


def _how_to_get(name: str) -> str:
    if name in TABLE:
        return f"install it with: kvchaos server install {name}"
    return f"list all with: kvchaos server list; add one with: kvchaos server add {name} --python PATH"


def _how_to_fix(server: ServerEnv) -> str:
    if server.kind == "installed":
        return f"install it again with: kvchaos server install {server.name}"
    return f"remove it with: kvchaos server remove {server.name}"
