"""Allowed targets of load: this machine, and for a joined worker the conductor's machine."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit


def loopback_url(url: str) -> str:
    """The server's address, tidied. Raises ValueError unless it is plain HTTP on loopback."""
    parts = _parts(url)
    if not is_loopback(parts.hostname or ""):
        raise ValueError(f"target {url!r} is not on this machine; load goes to 127.0.0.1 only")
    return f"{parts.scheme}://{parts.netloc}"


def target_url(url: str, own_host: str | None) -> str:
    """Like `loopback_url`, but also allows `own_host`, the conductor's machine. Raises ValueError."""
    parts = _parts(url)
    if own_host is None or parts.hostname != own_host:
        return loopback_url(url)
    return f"{parts.scheme}://{parts.netloc}"


def reachable_url(url: str, host: str) -> str:
    """The URL under which other machines reach a loopback URL of `host`; other URLs stay."""
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return url
    return parts._replace(netloc=f"{host}:{parts.port}").geturl()


def address_of(host: str) -> str:
    """A name's IPv4 address. Raises ValueError."""
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise ValueError(f"{host!r} is no address: {error}") from error


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _parts(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None or parts.path.strip("/") or parts.query:
        raise ValueError(f"target {url!r}: give it as http://127.0.0.1:PORT")
    return parts
