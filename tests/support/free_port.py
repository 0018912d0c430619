"""A TCP port for a test that has to name one before the server starts."""

from __future__ import annotations

import random
import socket

NOT_EPHEMERAL = range(20_000, 30_000)
"""Below the ports that Linux gives to outgoing connections: none of those can take it meanwhile."""


def free_port() -> int:
    """A TCP port on loopback that is free. Raises RuntimeError when there is none."""
    for port in random.sample(NOT_EPHEMERAL, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError(f"no free port from {NOT_EPHEMERAL.start} to {NOT_EPHEMERAL.stop - 1}")
