"""The client of the server's small endpoints: one error type with one line, bounded in time, no proxy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from loadtests.target import EndpointFailed, ServerEndpoints, is_healthy
from tests.unit.stacks.test_stack_attach import ANSWERS, METRICS, server

TIMEOUT_S = 5.0


def test_each_endpoint_gives_the_body_of_its_path() -> None:
    with server() as url, ServerEndpoints(url + "/", TIMEOUT_S) as endpoints:
        assert endpoints.health() == 200
        assert endpoints.metrics().decode() == METRICS
        assert endpoints.version().decode() == ANSWERS["/version"]
        assert endpoints.models().decode() == ANSWERS["/v1/models"]


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("/metrics", ServerEndpoints.metrics),
        ("/version", ServerEndpoints.version),
        ("/v1/models", ServerEndpoints.models),
    ],
)
def test_other_status_than_200_is_one_line_with_url_and_status(
    path: str, call: Callable[[ServerEndpoints], bytes]
) -> None:
    with server({path: None}) as url, ServerEndpoints(url, TIMEOUT_S) as endpoints:
        with pytest.raises(EndpointFailed) as failed:
            call(endpoints)
        assert str(failed.value).startswith(f"{url}{path}: HTTP status 404; ")


def test_unreachable_server_is_one_line_with_url_and_cause() -> None:
    with server() as url:
        pass
    with ServerEndpoints(url, TIMEOUT_S) as endpoints:
        assert endpoints.health() is None
        with pytest.raises(EndpointFailed) as failed:
            endpoints.metrics()
    assert failed.value.problem.startswith("ConnectionRefusedError: ")
    assert str(failed.value).startswith(f"{url}/metrics: ")
    assert "\n" not in str(failed.value)
    assert not is_healthy(url, TIMEOUT_S)


def test_silent_server_fails_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with ServerEndpoints(url, 0.1) as endpoints, pytest.raises(EndpointFailed) as failed:
            endpoints.reset_prefix_cache()
    assert failed.value.problem == "TimeoutError: no response within 0.1 s"


def test_response_that_is_not_http_is_an_endpoint_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"

        def respond() -> None:
            accepted, _ = other.accept()
            with accepted:
                accepted.recv(1000)
                accepted.sendall(b"+OK ready\r\n\r\n")

        thread = threading.Thread(target=respond)
        thread.start()
        with ServerEndpoints(url, TIMEOUT_S) as endpoints, pytest.raises(EndpointFailed) as failed:
            endpoints.version()
        thread.join()
    assert failed.value.problem.startswith("BadStatusLine: ")


def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with server() as url:
        assert is_healthy(url, TIMEOUT_S)


@pytest.mark.parametrize("url", ["https://127.0.0.1", "127.0.0.1:8000", "http://"])
def test_address_that_is_not_http_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an http address"):
        ServerEndpoints(url, TIMEOUT_S)
