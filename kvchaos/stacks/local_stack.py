"""The local stack: one server as processes of this machine and what they leave behind."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos.outside.faults.server_termination import Restarter
from chaos.outside.server_targets import LocalTarget
from history import layout
from history.events import ContainerAction, ServerStart
from history.records import ResourceRecord
from kvchaos.errors import UsageError
from kvchaos.stacks import shared_memory
from kvchaos.stacks.process_group import (
    GroupState,
    Ownership,
    Process,
    end_group,
    every_process,
    group_state,
    send,
    zombies_of,
)
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.process_usage import usage_of
from kvchaos.stacks.server_command import HOST, Launch, RunFolders, check_port
from kvchaos.stacks.server_files import PLUGIN_PARTS, link_plugin
from kvchaos.stacks.stack import GRACE_S, ServerNotStopped, wait_until_healthy

TEMP_PREFIX = "kvchaos-"
TEMP_BYTES = 4
"""Random bytes in the name; two characters each."""
MAX_TEMP_PATH = 70
"""A socket's path has at most 107 bytes, and vLLM appends a file name of 37 to the folder."""
NOT_INHERITED = ("VLLM_", "KVCHAOS_", "PYTHON", "OMP_", "KMP_", "LD_PRELOAD", "VIRTUAL_ENV", "PROMETHEUS_")
"""Variables that would change the server under test behind the plan's back."""


def choose_port(wanted: int | None, host: str = HOST) -> int:
    """A free port, the wanted one if given. Raises UsageError when that cannot be had."""
    if wanted is not None:
        check_port(wanted)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, wanted or 0))
        except OSError as error:
            why = "in use" if error.errno == errno.EADDRINUSE else f"not to be had ({error.strerror})"
            raise UsageError(f"port {wanted} is {why}: choose another with --port or leave it out") from error
        port: int = probe.getsockname()[1]
    return port


def make_folders(
    run_dir: Path, registry: ProcessRegistry, parts: tuple[str, ...] = PLUGIN_PARTS
) -> RunFolders:
    """Make the folders that the server gets. `run_dir` must exist. Raises UsageError.

    `parts` are the parts of the chaos package that the server can see, and no more.
    """
    plugin = link_plugin(run_dir, parts)
    control = run_dir / layout.CONTROL
    control.mkdir(mode=0o755, exist_ok=True)
    return RunFolders(temp=_make_temp_folder(registry), plugin=plugin, control=control)


def _make_temp_folder(registry: ProcessRegistry) -> Path:
    """Registered before it exists. Raises FileExistsError when one of that name exists."""
    temp = Path(_short_temp_parent(), TEMP_PREFIX + secrets.token_hex(TEMP_BYTES))
    registry.add_temp_folder(temp)
    try:
        temp.mkdir(mode=0o700)
    except OSError:
        registry.drop_server(None, temp)
        raise
    return temp


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of our environment that a server may see."""
    return {name: value for name, value in environ.items() if not name.startswith(NOT_INHERITED)}


class LocalStack:
    """A server as a process group of this machine; see `kvchaos.stacks.stack.Stack`."""

    def __init__(self, launch: Launch, folders: RunFolders, run_dir: Path, registry: ProcessRegistry) -> None:
        """`run_dir` gets the log: a folder of the server's own where it is to serve several runs."""
        self.launch = launch
        self._folders = folders
        self._log = run_dir / layout.SERVER_LOG
        self._reported_log = self._log
        """Where users find the log, for messages."""
        self._registry = registry
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: int | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the leader of the last incarnation, None before the first."""
        return self._process.pid if self._process else None

    def identity(self) -> ServerStart:
        """Process id and port of the server."""
        return ServerStart(pid=self.pid, port=self.launch.port)

    def start(self) -> None:
        """A further incarnation has the same command, port and log as the one before."""
        if self.alive():
            raise RuntimeError("the server runs")
        if self._process is not None:
            # Processes that outlived their leader would hold memory, and maybe the port.
            self.stop(grace_s=0)
            self._process = self._ended = None
        program = self.launch.command[0]
        if not os.access(program, os.X_OK):
            raise UsageError(f"{program}: cannot be run; is the server installed? see: kvchaos server list")
        self._registry.add_temp_folder(self._folders.temp)
        self._folders.temp.mkdir(mode=0o700, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = self._registry.start(
                self.launch.command,
                what="server",
                environment=inherited(os.environ) | self.launch.environment,
                cwd=self._folders.temp,
                log=log,
            )

    def wait_ready(self, deadline_s: float) -> None:
        """Wait until `/health` answers 200. Raises UsageError after the deadline or an exit."""
        wait_until_healthy(self, self.launch, self._log, deadline_s, self._reported_log)

    def alive(self) -> bool:
        """Whether the server's first process runs."""
        return self._process is not None and self.exit_code() is None

    def exit_code(self) -> int | None:
        """Exit code of the server, negative for a signal; None while it runs."""
        if self._process is None or self._ended is not None:
            return self._ended
        # Inspected, not collected: as long as the dead leader is not collected, the kernel keeps its
        # id, and no stranger can be taken for a member of its group.
        ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def observe(self) -> None:
        """Register new processes of the server."""
        self._registry.observe()

    def container_events(self) -> tuple[ContainerAction, ...]:
        """There is no container."""
        return ()

    def resources(self) -> ResourceRecord | None:
        """Usage of all its processes; None while none runs."""
        if self._process is None or self._ended is not None:
            return None
        group = self._registry.group(self._process.pid)
        everyone = every_process()
        running = self._processes([process for process in everyone if process.runs])
        if not running:
            return None
        usage = usage_of(process.pid for process in running)
        return ResourceRecord(
            t_ns=time.time_ns(),
            mono_ns=time.monotonic_ns(),
            leader=group.leader,
            started=group.start_ticks,
            processes=usage.processes,
            threads=usage.threads,
            files=usage.files,
            sockets=usage.sockets,
            resident_bytes=usage.resident_bytes,
            anonymous_bytes=usage.anonymous_bytes,
            shm_bytes=shared_memory.bytes_of(self._registry.state.shm),
            zombies=zombies_of(running, everyone),
        )

    def processes(self) -> tuple[Process, ...]:
        """Running processes of the server, stopped ones too; none when they are not proved ours."""
        return self._processes(None)

    def _processes(self, among: Sequence[Process] | None) -> tuple[Process, ...]:
        if self._process is None or self._ended is not None:
            return ()
        state = group_state(self._registry.group(self._process.pid), among=among)
        return state.processes if state.ownership is Ownership.OURS else ()

    def signal_one(self, pid: int, which: signal.Signals) -> None:
        """Send a signal to one process of the server; does nothing when it has ended."""
        if any(process.pid == pid for process in self.processes()):
            send(os.kill, pid, which)

    def signal_all(self, which: signal.Signals) -> None:
        """Send a signal to all processes of the server at once; does nothing when it has ended."""
        if self._process is not None and self.processes():
            send(os.killpg, self._process.pid, which)

    def fault_target(self, restarter: Restarter) -> LocalTarget:
        """The process group as the target of faults from outside."""
        return LocalTarget(self, restarter)

    def serve(self, run_dir: Path) -> None:
        """Report to another run directory from now on."""
        self._reported_log = run_dir / layout.SERVER_LOG

    def stop(self, grace_s: float = GRACE_S) -> None:
        """A registry that cannot be written does not prevent that; OSError is raised when all is done."""
        try:
            self.observe()
        finally:
            self._end(grace_s)
            shared_memory.remove(self._registry.state.shm)
            if self._folders.temp.exists():
                shutil.rmtree(self._folders.temp)
            self._registry.drop_server(self.pid, self._folders.temp)

    def _end(self, grace_s: float) -> None:
        if self._process is None or self._ended is not None:
            return
        remaining = end_group(self._registry.group(self._process.pid), grace_s, self._registry.add_shm)
        if remaining.processes:
            raise ServerNotStopped(_who_remains(remaining))
        self._ended = self._process.wait()


def _who_remains(state: GroupState) -> str:
    pids = ", ".join(str(process.pid) for process in state.processes)
    return f"processes {pids} of the server do not end: end them by hand, then run kvchaos clean"


def _short_temp_parent() -> str:
    for parent in (tempfile.gettempdir(), "/tmp"):
        longest = len(os.fsencode(Path(parent) / (TEMP_PREFIX + "00" * TEMP_BYTES)))
        if longest <= MAX_TEMP_PATH and os.access(parent, os.W_OK):
            return parent
    raise UsageError("no temporary folder with a short enough path: set TMPDIR to a shorter one")
