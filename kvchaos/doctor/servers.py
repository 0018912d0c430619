"""The server environments in the cache folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kvchaos import paths
from kvchaos.doctor.check import Check, CheckState
from kvchaos.errors import UsageError
from kvchaos.servers.server_registry import ServerEnv, read_server


def examine(cache: Path) -> Iterator[Check]:
    """Every server's folder, by its files alone: importing vLLM would take many seconds each."""
    folders = sorted(path for path in paths.servers_folder(cache).glob("[!.]*") if path.is_dir())
    if not folders:
        yield Check("servers", CheckState.OK, "none yet", "kvchaos server install 0.32.0")
    for folder in folders:
        name = f"server {folder.name}"
        try:
            server = read_server(folder)
        except UsageError as error:
            yield Check(name, CheckState.BAD, str(error), f"kvchaos server remove {folder.name}")
            continue
        if server is None:
            yield Check(
                name, CheckState.WARN, "not installed to its end", f"kvchaos server install {folder.name}"
            )
        else:
            yield check_server(server)


def check_server(server: ServerEnv) -> Check:
    missing = server.missing_files()
    if missing:
        again = f"kvchaos server install {server.name}"
        fix = again if server.kind == "installed" else f"kvchaos server remove {server.name}"
        return Check(f"server {server.name}", CheckState.BAD, f"{missing[0]} is gone", fix)
    return Check(f"server {server.name}", CheckState.OK, f"vLLM {server.vllm}, torch {server.torch}")
