"""Makes a server environment for one release of vLLM, or registers an existing one.

The marker comes last: without it all is redone. A server on the CPU preloads the system's tcmalloc and its
environment's libiomp5.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from uv import find_uv_bin

from kvchaos.errors import UsageError
from kvchaos.paths import lib_folder
from kvchaos.servers import debian
from kvchaos.servers.installation import CommandFailed, InstallProgress, Runner, exclusive
from kvchaos.servers.interpreters import configured_find_links, find_base, read_server_facts
from kvchaos.servers.releases import ENTRY_MODULE, PACKAGE, ServerRelease, find_release
from kvchaos.servers.server_registry import ServerEnv, read_server, server_folder, write_server

TCMALLOC = ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4")
LIB_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib", "/lib64")
IOMP5 = Path("lib/libiomp5.so")
HOW_TO_GET_TCMALLOC = (
    "libtcmalloc is not on this machine; install it "
    "(Debian: libtcmalloc-minimal4t64 or libtcmalloc-minimal4, Fedora: gperftools-libs)"
)


def resolve(names: Sequence[str], prefix: Path, cache: Path, runner: Runner) -> tuple[str, ...]:
    """Return absolute paths of the named libraries for the environment at `prefix`.

    Fetches tcmalloc into the cache where the system lacks it and it can be fetched without root.
    Raises UsageError when a library cannot be had.
    """
    return tuple(str(_resolve_one(name, prefix, cache, runner)) for name in names)


def _resolve_one(name: str, prefix: Path, cache: Path, runner: Runner) -> Path:
    if name == "tcmalloc":
        return ensure_tcmalloc(cache, runner)
    if name == "iomp5":
        if not (prefix / IOMP5).is_file():
            raise UsageError(f"{prefix / IOMP5} is missing; install intel-openmp into that environment")
        return prefix / IOMP5
    raise ValueError(f"unknown library {name!r}")


def find_tcmalloc(cache: Path) -> Path | None:
    """Path of tcmalloc, on the system or in the cache; None when it is missing."""
    listed = parse_ldconfig(_ldconfig())
    folders = [*map(Path, LIB_FOLDERS), lib_folder(cache)]
    candidates = [*(listed[name] for name in TCMALLOC if name in listed)]
    candidates += [folder / name for name in TCMALLOC for folder in folders]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def ensure_tcmalloc(cache: Path, runner: Runner) -> Path:
    """Return tcmalloc, fetched into the cache where the system lacks it. Raises UsageError."""
    found = find_tcmalloc(cache)
    if found is not None:
        return found
    if not debian.can_fetch():
        raise UsageError(HOW_TO_GET_TCMALLOC)
    runner.progress.step("fetching libtcmalloc")
    folder = lib_folder(cache)
    folder.mkdir(parents=True, exist_ok=True)
    fetched = debian.fetch_library(TCMALLOC[0], debian.TCMALLOC_PACKAGES, folder, runner)
    if fetched is None:
        raise UsageError(HOW_TO_GET_TCMALLOC)
    return fetched


def parse_ldconfig(text: str) -> dict[str, Path]:
    """64-bit libraries of this machine, by name, from the output of `ldconfig -p`."""
    lines: Iterable[re.Match[str]] = re.finditer(r"^\s*(\S+) \(([^)]*)\) => (\S+)$", text, re.MULTILINE)
    return {match[1]: Path(match[3]) for match in lines if "x86-64" in match[2]}


def _ldconfig() -> str:
    # Not on an ordinary user's PATH on Debian.
    program = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        return ""
    answer = subprocess.run([program, "-p"], capture_output=True, text=True, check=False)
    return answer.stdout if answer.returncode == 0 else ""


LOG = "install.log"


def install(version: str, cache: Path, progress: InstallProgress, uv: Path | None = None) -> ServerEnv:
    """Return the environment of a release, made when it is not there or not whole.

    Two calls at once are safe: the second waits for the first. Raises UsageError.
    """
    release = find_release(version)
    check_machine(sys.platform, platform.machine())
    folder = server_folder(version, cache)
    folder.parent.mkdir(parents=True, exist_ok=True)

    def waiting() -> None:
        progress.step(f"server {version}: waiting for another installation of it")

    with exclusive(lock_file(folder), waiting) as lock:
        ready = _whole(folder)
        if ready is not None:
            return ready
        if folder.exists():
            progress.step(f"server {version}: removing what an interrupted installation left")
            shutil.rmtree(folder)
        folder.mkdir()
        runner = Runner(progress, folder, folder / LOG, lock)
        try:
            server = _make(release, folder, cache, uv or Path(find_uv_bin()), runner)
        except CommandFailed as error:
            raise UsageError(f"server {version}: {error}; all output is in {runner.log}") from error
        write_server(folder, server)
        return server


def remove(name: str, cache: Path, progress: InstallProgress) -> None:
    """Forget a server, and delete its environment if it was installed here. Raises UsageError."""
    folder = server_folder(name, cache)
    if not folder.is_dir():
        raise UsageError(f"no server named {name}; list all with: kvchaos server list")
    with exclusive(lock_file(folder), lambda: progress.step(f"server {name}: waiting for its installation")):
        # An added environment lies elsewhere; only its marker is in this folder.
        if folder.is_dir():
            shutil.rmtree(folder)


def lock_file(folder: Path) -> Path:
    """Lock file next to the folder, so that it outlives the folder."""
    return folder.with_name(f".{folder.name}.lock")


def check_machine(system: str, machine: str) -> None:
    """Raises UsageError where there are no wheels."""
    if (system, machine) != ("linux", "x86_64"):
        raise UsageError(
            f"{PACKAGE} has wheels for x86-64 Linux only, this is {machine} {system}; "
            "use an environment of your own with: kvchaos server add NAME --python PATH"
        )


def overrides(release: ServerRelease) -> str:
    """The override file for uv: the plain torch, and what is left out by a condition that never holds."""
    lines = [f"torch=={release.torch}", *(f"{name} ; python_version < '3'" for name in release.left_out)]
    return "\n".join(lines) + "\n"


def _whole(folder: Path) -> ServerEnv | None:
    try:
        server = read_server(folder)
    except UsageError:
        return None
    if server is not None and server.kind == "added":
        raise UsageError(
            f"{server.name} is an added server; remove it with: kvchaos server remove {server.name}"
        )
    return server if server is not None and not server.missing_files() else None


def _make(release: ServerRelease, folder: Path, cache: Path, uv: Path, runner: Runner) -> ServerEnv:
    report_step = runner.progress.step
    base = find_base(release.python, uv)
    report_step(f"server {release.version}: making the environment with Python {base.version}")
    env = folder / "env"
    # Always a full path: uv takes a bare name such as v32 for a Python version.
    python = env / "bin" / "python"
    runner.run([uv, "venv", "--no-project", "--python", base.path, env], os.environ)

    report_step(f"server {release.version}: installing {PACKAGE} {release.version} and torch {release.torch}")
    override_file = folder / "overrides.txt"
    override_file.write_text(overrides(release))
    links = [argument for link in configured_find_links(base.path) for argument in ("--find-links", link)]
    wanted = f"{PACKAGE}=={release.version}"
    runner.run(
        [uv, "pip", "install", "--python", python, "--override", override_file, *links, wanted],
        # The machine's own certificates: behind a company's proxy no others will do.
        {"UV_SYSTEM_CERTS": "1", **os.environ},
    )
    if release.stub_distribution:
        _write_stub(release.version, env)

    libraries = resolve(release.preload, env, cache, runner)
    report_step(f"server {release.version}: checking that it imports")
    facts = read_server_facts(python, release.entry_module, libraries, runner)
    if not facts.cpu:
        raise UsageError(f"server {release.version}: vLLM does not detect the CPU platform")
    return ServerEnv(
        name=release.version,
        kind="installed",
        vllm=facts.vllm,
        torch=facts.torch,
        python=python,
        python_version=facts.python,
        preload=libraries,
        entry_module=release.entry_module,
    )


def _write_stub(version: str, env: Path) -> None:
    (site_packages,) = env.glob("lib/python3.*/site-packages")
    stub = site_packages / f"vllm-{version}+cpu.dist-info"
    stub.mkdir()
    (stub / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")


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
            raise UsageError(f"{python}: vLLM cannot be imported there: {error.last_line}") from error
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
    wanted = [find_tcmalloc(cache), prefix / IOMP5]
    return tuple(str(path) for path in wanted if path is not None and path.is_file())
