"""The server that load goes to: its allowed addresses, and a client of its small endpoints."""

from __future__ import annotations

import http.client
import socket
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, urlsplit

RESET_PATH = "/reset_prefix_cache"
RESET_WITH_TIER_PATH = f"{RESET_PATH}?reset_external=true"
"""The reset of the offload tier exists from 0.22 on."""


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
        raise ValueError(f"{host!r} is not an address: {error}") from error


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: `localhost`, or a loopback address."""
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


class EndpointFailed(Exception):
    """An endpoint did not respond, or not with status 200: one line with the URL, the problem, what to do."""

    def __init__(self, url: str, problem: str, what_to_do: str) -> None:
        super().__init__(f"{url}: {problem}; {what_to_do}")
        self.problem = problem


@dataclass(frozen=True, slots=True)
class EndpointResponse:
    """A response of any status, read to its end."""

    url: str
    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body as text; undecodable bytes are replaced."""
        return self.body.decode("utf-8", "replace")

    def ok_body(self) -> bytes:
        """Raises EndpointFailed unless the status is 200."""
        if self.status != HTTPStatus.OK:
            raise EndpointFailed(self.url, f"HTTP status {self.status}", "is that a vLLM server?")
        return self.body


class ServerEndpoints:
    """Health, metrics, version, models and cache reset of one server; no proxy of the environment is used.

    It opens one connection with the first request, and again when the server has closed it. Use it in a
    `with` block, or call `close`. All methods but `health` raise EndpointFailed. Not for several threads.
    """

    def __init__(self, base_url: str, timeout_s: float) -> None:
        """`timeout_s` bounds the connect and each read. Raises ValueError for what is no http address."""
        address = urlsplit(base_url)
        if address.scheme != "http" or address.hostname is None:
            raise ValueError(f"not an http address: {base_url!r}")
        self._base_url = base_url
        self._path = address.path.rstrip("/")
        self._timeout_s = timeout_s
        self._connection = http.client.HTTPConnection(address.hostname, address.port, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def health(self) -> int | None:
        """HTTP status of /health; None without a response."""
        try:
            return self._send("GET", "/health").status
        except EndpointFailed:
            return None

    def metrics(self) -> bytes:
        """The exposition of the server's metrics."""
        return self._send("GET", "/metrics").ok_body()

    def version(self) -> bytes:
        """The body of `/version`. Raises when the status is not 200."""
        return self._send("GET", "/version").ok_body()

    def models(self) -> bytes:
        """The body of `/v1/models`. Raises when the status is not 200."""
        return self._send("GET", "/v1/models").ok_body()

    def reset_prefix_cache(self) -> EndpointResponse:
        """Drop the prefix cache. Its status is not checked: a refusal is a result, too."""
        return self._send("POST", RESET_PATH)

    def reset_prefix_cache_and_tier(self) -> EndpointResponse:
        """The same, and drop the offload tier."""
        return self._send("POST", RESET_WITH_TIER_PATH)

    def _send(self, method: str, path: str) -> EndpointResponse:
        url = f"{self._base_url.rstrip('/')}{path}"
        try:
            return self._over_kept_connection(method, path, url)
        except TimeoutError as error:
            problem = f"TimeoutError: no response within {self._timeout_s:g} s"
            raise self._failed(url, problem) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(url, f"{type(error).__name__}: {error}") from error

    def _failed(self, url: str, problem: str) -> EndpointFailed:
        self.close()
        return EndpointFailed(url, problem, "is the server up?")

    def _over_kept_connection(self, method: str, path: str, url: str) -> EndpointResponse:
        """Send once more when the server had closed the connection while it was idle."""
        kept = self._connection.sock is not None
        try:
            return self._exchange(method, path, url)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.close()
            if not kept:
                raise
            return self._exchange(method, path, url)

    def _exchange(self, method: str, path: str, url: str) -> EndpointResponse:
        self._connection.request(method, self._path + path)
        response = self._connection.getresponse()
        return EndpointResponse(url, response.status, response.read())


def is_healthy(base_url: str, timeout_s: float) -> bool:
    """Whether /health answers 200, over a connection of its own."""
    with ServerEndpoints(base_url, timeout_s) as server:
        return server.health() == HTTPStatus.OK
