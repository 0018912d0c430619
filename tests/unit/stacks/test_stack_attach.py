"""A server that is already there is taken by its own word, and only when that word is a vLLM server's."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from packaging.version import Version

from kvchaos.bugs.bug_catalogue import expectation_for, known_bugs
from kvchaos.errors import UsageError
from kvchaos.planning.scenario_file import find_scenario, load_scenario
from kvchaos.stacks.attach import attached_scenario, inspect_server

IDLE = 'vllm:num_requests_running{engine="0"} 0.0'
METRICS = f"""{IDLE}
vllm:num_requests_waiting{{engine="0"}} 0.0
vllm:cache_config_info{{block_size="16",engine="0",num_gpu_blocks="512"}} 1.0
"""
ANSWERS: dict[str, str] = {
    "/health": "",
    "/version": json.dumps({"version": "0.32.0+cu130"}),
    "/v1/models": json.dumps({"object": "list", "data": [{"id": "org/model", "max_model_len": 4096}]}),
    "/metrics": METRICS,
}


@contextlib.contextmanager
def server(changed: dict[str, str | None] | None = None) -> Iterator[str]:
    """Answers as a vLLM server does, but for some paths; None: with status 404. Gives its address."""
    answers = {**ANSWERS, **(changed or {})}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write((body or "").encode())

        def log_message(self, *args: Any) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}"
        finally:
            http.shutdown()
            thread.join()


def test_attached_server_reports_version_and_model() -> None:
    with server() as url:
        found = inspect_server(url + "/")
    assert (found.base_url, found.name) == (url, url.removeprefix("http://"))
    assert (found.vllm, str(found.release), found.model) == ("0.32.0+cu130", "0.32.0", "org/model")
    assert (found.max_model_len, found.block_size, found.gpu_blocks) == (4096, 16, 512)


@pytest.mark.parametrize("url", ["http://10.0.0.1:8000", "https://127.0.0.1", "127.0.0.1:8000"])
def test_attach_refuses_a_remote_server(url: str) -> None:
    with pytest.raises(UsageError, match=r"127\.0\.0\.1"):
        inspect_server(url)


def test_attached_plan_has_the_server_settings_and_expects_no_failure() -> None:
    scenario = load_scenario(find_scenario("mid-prefill-preemption"))
    assert expectation_for(scenario, Version("0.18.0"), known_bugs()).fail
    with server() as url:
        found = inspect_server(url)
    attached = attached_scenario(scenario, found)
    assert (attached.server.max_model_len, attached.server.gpu_blocks, attached.server.chaos) == (
        4096,
        512,
        False,
    )
    assert expectation_for(attached, Version("0.18.0"), known_bugs()).fail == ()
    assert attached.phases == scenario.phases


def test_faults_inside_are_refused() -> None:
    scenario = load_scenario(find_scenario("evict-storm"))
    with server() as url, pytest.raises(UsageError, match="evict-storm"):
        attached_scenario(scenario, inspect_server(url))
