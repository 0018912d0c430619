"""What a run may leave in a real server, and that the proof of a clean state finds each of it."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from history.jsonl import LineWriter
from kvchaos.campaign.server_pool import change_since_proof
from kvchaos.conductor.conductor import LEDGER_QUIET_S
from kvchaos.conductor.handover import Handover, RunEnd
from kvchaos.planning.scenario_file import find_scenario, load_scenario
from kvchaos.prometheus.scraper import Scraper
from kvchaos.servers.server_registry import find_server
from kvchaos.stacks.prepare_server import KeptServer, LaunchRequest, prepare_local
from kvchaos.stacks.server_command import HOST
from tests.server.bench import NEW, STARTED_S, need, wait_for

pytestmark = pytest.mark.server
PROMPT = [7 + number * number % 83 for number in range(320)]
"""Ten blocks."""
MANY = 12
"""So many need more blocks than there are, and take longer than the proof."""


class Serving:
    """A real server between two runs."""

    def __init__(self, kept: KeptServer, run_dir: Path) -> None:
        self.kept = kept
        self._run_dir = run_dir
        self._port, self.url = kept.prepared.launch.port, kept.prepared.launch.base_url
        self._scraper = Scraper(self.url, LineWriter(run_dir / "metrics.jsonl"))
        # As in a run: a connection that it left idle would be closed by the server in mid-proof.
        self._scraper.start()
        self._scraper.scrape_now()
        with self.request([1, 2, 3, 4], 1):
            """The first request of a server's life, as a run sends it."""
        first = Handover(kept.prepared.stack, kept.files, None)
        first.before_load()
        self.before = first.before

    def proof(self, *, tier_in_use: bool = False) -> list[str]:
        """What the proof says against this server, some time after the reset of its caches."""
        handover = Handover(self.kept.prepared.stack, self.kept.files, self.before)
        time.sleep(LEDGER_QUIET_S)
        handover.empty_caches(self.url, self._end())
        if tier_in_use:
            with self.request(PROMPT, 4):
                """What is stored now is there as if the reset had left it."""
        time.sleep(LEDGER_QUIET_S)
        handover.prove(self._end())
        self.kept.figures = handover.figures
        return handover.objections

    def _end(self) -> RunEnd:
        samples = self._scraper.scrape_now()
        return RunEnd(self._run_dir, samples, starts=1, unhealed=(), drained=True)

    @contextmanager
    def request(self, prompt: Sequence[int], tokens: int, *, read: bool = True) -> Iterator[None]:
        """One completion, read to its end, or left open for the length of the block."""
        connection = http.client.HTTPConnection(HOST, self._port, timeout=60)
        body = {
            "model": "tiny",
            "prompt": list(prompt),
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": not read,
        }
        with closing(connection):
            connection.request(
                "POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            assert response.status == http.HTTPStatus.OK
            if read:
                response.read()
            yield

    def connected(self) -> socket.socket:
        return socket.create_connection((HOST, self._port))

    def close(self) -> None:
        self._scraper.stop()


@pytest.fixture(scope="module")
def serving(server_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    run_dir = tmp_path_factory.mktemp("clean") / "proved"
    run_dir.mkdir()
    settings = load_scenario(find_scenario("baseline-offload")).server
    server = find_server(need(NEW), server_cache)
    kept = KeptServer(LaunchRequest(server, settings, run_dir.name, run_dir, server_cache), prepare_local)
    try:
        kept.serve(run_dir.name, run_dir)
        kept.prepared.stack.start()
        kept.prepared.stack.wait_ready(STARTED_S)
        made = Serving(kept, run_dir)
        yield made
        made.close()
    finally:
        kept.close()


def test_used_and_reset_server_is_clean(serving: Serving) -> None:
    for _ in range(3):
        with serving.request(PROMPT, 16):
            pass
    assert serving.proof() == []


def test_blocks_in_the_offload_tier_are_not_clean(serving: Serving) -> None:
    assert any(objection.endswith(": 10") for objection in serving.proof(tier_in_use=True))
    assert serving.proof() == []


def test_open_connection_is_not_clean(serving: Serving) -> None:
    with serving.connected():
        (objection,) = serving.proof()
        assert "open sockets" in objection
    assert serving.proof() == []


def test_counter_growth_after_the_check_is_not_clean(serving: Serving) -> None:
    assert serving.proof() == []
    assert change_since_proof(serving.kept) is None
    with serving.request(PROMPT, 4):
        pass
    assert str(change_since_proof(serving.kept)).startswith("vllm:")


def test_requests_with_allocated_blocks_are_not_clean(serving: Serving) -> None:
    with ExitStack() as load:
        for _ in range(MANY):
            load.enter_context(serving.request(PROMPT, 440, read=False))
        objections = serving.proof()
    for what in ("requests running", "KV cache usage"):
        assert any(what in objection for objection in objections), objections
    wait_for(lambda: serving.proof() == [])
