"""Where load may go: this machine only."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def loopback_url(url: str) -> str:
    """The server's address, tidied. Raises ValueError unless it is plain HTTP on loopback."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None or parts.path.strip("/") or parts.query:
        raise ValueError(f"target {url!r}: give it as http://127.0.0.1:PORT")
    if not _is_loopback(parts.hostname):
        raise ValueError(f"target {url!r} is not on this machine; load goes to 127.0.0.1 only")
    return f"{parts.scheme}://{parts.netloc}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
