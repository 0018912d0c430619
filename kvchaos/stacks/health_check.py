"""Waits until a server answers /health, or has exited."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

from kvchaos.stacks.command import Launch
from kvchaos.stacks.server_log import last_lines
from kvchaos.stacks.stack import ServerStartFailed, Stack

POLL_S = 0.25
TIMEOUT_S = 2.0
OBSERVE_EVERY_S = 1.0


def wait_until_healthy(
    stack: Stack, launch: Launch, log: Path, deadline_s: float, reported_log: Path | None = None
) -> None:
    """Return when /health answers 200. Raises ServerStartFailed when the server dies or time is up.

    `named_log` is where the user finds the log, if that is another file.
    """
    reported = reported_log or log
    deadline = time.monotonic() + deadline_s
    observe_at = 0.0
    while not _healthy(launch):
        now = time.monotonic()
        code = stack.exit_code()
        if code is not None:
            raise _not_ready(f"died before it was ready (exit code {code})", code, log, reported)
        if now >= deadline:
            raise _not_ready(f"was not ready after {deadline_s:g} s", None, log, reported)
        if now >= observe_at:
            stack.observe()
            observe_at = now + OBSERVE_EVERY_S
        time.sleep(POLL_S)
    stack.observe()


def _healthy(launch: Launch) -> bool:
    connection = http.client.HTTPConnection(launch.host, launch.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _not_ready(what: str, code: int | None, log: Path, reported: Path) -> ServerStartFailed:
    tail = last_lines(log)
    last = f"; its last line: {tail[-1]}" if tail else ""
    return ServerStartFailed(f"the server {what}; see {reported}{last}", exit_code=code, tail=tail)
