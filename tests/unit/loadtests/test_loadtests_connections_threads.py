"""Clients of two threads must not read into one buffer: the answer of one would hold bytes of the other's."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from history.records import RequestRecord
from loadtests.clients.completion_clients import OpenAIClient
from loadtests.clients.completion_request import Job
from loadtests.mock.mock_process import Fixed, MockServer, Settings
from loadtests.workloads.workload import Prompt

AT_ONCE = Settings(ttft=Fixed(ms=0), itl=Fixed(ms=0))
THREADS, REQUESTS, TOKENS = 3, 30, 200


class Records(list[RequestRecord]):
    """A sink that keeps what has ended."""

    def tokens(self, count: int) -> None:
        """Tokens are counted in the records."""

    def ended(self, record: RequestRecord) -> None:
        self.append(record)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MockServer]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with MockServer(AT_ONCE, tmp_path / "sent.jsonl") as server:
        yield server
    sys.setswitchinterval(interval)


def test_answers_of_clients_in_several_threads_are_not_mixed(server: MockServer) -> None:
    records = Records()

    def send(thread: int) -> None:
        client = OpenAIClient(server.url, "tiny", deadline_s=60.0)
        for number in range(REQUESTS):
            prompt = Prompt(prompt_id="p", token_ids=(65 + thread, 66), max_tokens=TOKENS)
            name = f"{thread}-{number}"
            client.complete(
                Job(id=name, prompt=prompt, phase="load", worker=0, scheduled_ns=time.time_ns()), records
            )
        client.close()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record.error for record in records if record.outcome != "ok"] == []
    assert len(records) == THREADS * REQUESTS
