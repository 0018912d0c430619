"""The address at which load workers of other machines join a run."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from kvchaos.errors import UsageError
from loadtests.target import address_of, is_loopback

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 5557
EVERYWHERE = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class MasterAddress:
    """IPv4 address and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def open_to_others(self) -> bool:
        """Whether more than this machine reaches it."""
        return not is_loopback(self.host)


def master_address(text: str) -> MasterAddress:
    """Parse HOST:PORT, HOST or PORT; the default is 127.0.0.1:5557. Raises UsageError."""
    host, _, port = text.rpartition(":") if ":" in text or text.isdecimal() else (text, "", "")
    number = int(port) if port.isdecimal() else DEFAULT_PORT
    if (port and not port.isdecimal()) or not 1 <= number <= 65535:
        raise UsageError(f"{text!r}: give an address as HOST:PORT")
    try:
        return MasterAddress(address_of(host or DEFAULT_HOST), number)
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}; give an address as HOST:PORT") from error


def check_free(address: MasterAddress) -> None:
    """Raise UsageError when this machine cannot listen there."""
    if address.host == EVERYWHERE:
        raise UsageError(
            "--listen: name the one address at which the workers reach this machine, not all of them"
        )
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            raise UsageError(
                f"--listen {address}: this machine cannot listen there: {error.strerror}"
            ) from error
