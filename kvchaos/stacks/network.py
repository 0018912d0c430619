"""The proxy before a server, where a scenario strikes the network: a process of its own.

Only the load goes through it. Scrapes, probes and health checks go to the server itself, so that a
cut line is not taken for a dead server.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from urllib.parse import urlsplit

from chaos.outside.injector import NETWORK
from chaos.outside.network.proxy_control import ProxyClient, ProxyFailed, proxy_command
from chaos.outside.outside_kinds import kinds_of
from history import layout
from history.plan import RunPlan
from kvchaos.errors import UsageError
from kvchaos.polling import poll
from kvchaos.stacks.process_group import end_group
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.server_command import HOST

PACKAGES = Path(__file__).resolve().parent.parent.parent
START_S = 30.0
POLL_S = 0.02
LEAVE_S = 5.0
"""Seconds from the end of its commands to its own end."""


class NetworkProxy:
    """One running proxy."""

    def __init__(self, process: subprocess.Popen[bytes], handle: ProxyClient, port: int) -> None:
        self._process = process
        self.handle = handle
        self.url = f"http://{HOST}:{port}"
        """The address to use instead of the server's."""

    def failure(self) -> str | None:
        """One line when it has died: then the results of the load say nothing about the server."""
        code = self._process.poll()
        if code is None:
            return None
        return f"the TCP proxy ended with code {code}; see {layout.NETWORK_LOG}"


def proxy_for(
    plan: RunPlan, run_dir: Path, registry: ProcessRegistry
) -> AbstractContextManager[NetworkProxy | None]:
    """What the load of a run goes through; None where no fault strikes the network."""
    if any(fault.kind in kinds_of(NETWORK) for fault in plan.scenario.faults):
        return proxy_before(plan.base_url, run_dir, registry)
    return nullcontext()


@contextmanager
def proxy_before(server_url: str, run_dir: Path, registry: ProcessRegistry) -> Iterator[NetworkProxy]:
    """A proxy before the server, for the time of the block; the server need not run yet.

    Raises UsageError when the proxy does not start or ends too early.
    """
    port = urlsplit(server_url).port
    assert port is not None
    reports = run_dir / layout.NETWORK
    with (run_dir / layout.NETWORK_LOG).open("ab") as log:
        process = registry.start_with_stdin(
            proxy_command(port, reports), what="network", environment=os.environ, cwd=PACKAGES, log=log
        )
    assert process.stdin is not None
    handle = ProxyClient(process.stdin, reports)
    try:
        listening = poll(handle.port, lambda found: found is not None, START_S, POLL_S)
        if listening is None:
            raise ProxyFailed(f"it does not listen after {START_S:g} s")
        yield NetworkProxy(process, handle, listening)
    except ProxyFailed as error:
        raise UsageError(f"the TCP proxy: {error}; see {run_dir / layout.NETWORK_LOG}") from error
    finally:
        _end(process, handle, registry)


def _end(process: subprocess.Popen[bytes], handle: ProxyClient, registry: ProcessRegistry) -> None:
    """End a process by the end of its commands; kill one that does not exit."""
    handle.close()
    try:
        process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        end_group(registry.group(process.pid), LEAVE_S)
        process.wait()
    registry.drop_group(process.pid)
