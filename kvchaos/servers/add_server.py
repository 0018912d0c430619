"""Registers an environment that somebody else made, such as one with a CUDA build of vLLM."""

from __future__ import annotations

import tempfile
from pathlib import Path

from kvchaos.errors import UsageError
from kvchaos.servers import preload
from kvchaos.servers.commands import CommandFailed, Runner
from kvchaos.servers.install_progress import InstallProgress
from kvchaos.servers.install_server import lock_file
from kvchaos.servers.interpreters import read_server_facts
from kvchaos.servers.lock import exclusive
from kvchaos.servers.releases import ENTRY_MODULE
from kvchaos.servers.server_registry import ServerEnv, server_folder, write_server


def add(name: str, python: Path, cache: Path, progress: InstallProgress) -> ServerEnv:
    """Register the environment of an interpreter under a name, after vLLM was imported there.

    Nothing in that environment is changed, now or on removal. Raises UsageError.
    """
    folder = server_folder(name, cache)
    interpreter = python.expanduser().absolute()
    if not interpreter.is_file():
        raise UsageError(f"{python}: no such file; give the path of an environment's bin/python")
    folder.parent.mkdir(parents=True, exist_ok=True)

    def waiting() -> None:
        progress.step(f"server {name}: waiting for another command that works on it")

    with exclusive(lock_file(folder), waiting):
        if folder.exists():
            raise UsageError(
                f"there is a server {name} already; remove it with: kvchaos server remove {name}"
            )
        progress.step(f"server {name}: importing vLLM")
        server = _read_facts(name, interpreter, cache, progress)
        folder.mkdir()
        write_server(folder, server)
    return server


def _read_facts(name: str, python: Path, cache: Path, progress: InstallProgress) -> ServerEnv:
    with tempfile.TemporaryDirectory(prefix="kvchaos-add-") as scratch:
        work = Path(scratch)
        runner = Runner(progress, work, work / "add.log")
        try:
            facts = read_server_facts(python, ENTRY_MODULE, (), runner)
            libraries = _libraries(facts.prefix, cache) if facts.cpu else ()
        except CommandFailed as error:
            raise UsageError(f"{python}: vLLM does not import there: {error.last_line}") from error
    return ServerEnv(
        name=name,
        kind="added",
        platform="cpu" if facts.cpu else "cuda",
        vllm=facts.vllm,
        torch=facts.torch,
        python=python,
        python_version=facts.python,
        preload=libraries,
        entry_module=ENTRY_MODULE,
    )


def _libraries(prefix: Path, cache: Path) -> tuple[str, ...]:
    """What a CPU build preloads, as far as it is there."""
    wanted = [preload.find_tcmalloc(cache), prefix / preload.IOMP5]
    return tuple(str(path) for path in wanted if path is not None and path.is_file())
