"""A mock server behind the network's proxy, and the load client in front of it."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from chaos.outside.network.proxy_control import ProxyClient, ProxyEvent, ProxyReport, proxy_command
from history.records import RequestRecord
from kvchaos.polling import poll
from loadtests.clients.completion_clients import OpenAIClient
from loadtests.clients.completion_request import Job
from loadtests.mock.mock_process import Fixed, MockServer, Settings
from loadtests.workloads.workload import Prompt
from tests.support.fake_server_runs import PATIENCE_S, ROOT, wait_for

MS = 1_000_000
TTFT_MS = 20.0
ITL_MS = 10.0
SCHEDULE = Settings(ttft=Fixed(ms=TTFT_MS), itl=Fixed(ms=ITL_MS))


@dataclass
class ProxiedClient:
    """Sends completions through the proxy and keeps their records."""

    url: str
    records: list[RequestRecord] = field(default_factory=list)
    tokens_received: Counter[str] = field(default_factory=Counter)
    """Tokens that have come so far, by request."""

    def complete(self, *ids: str, tokens: int = 10) -> list[RequestRecord]:
        """One after the other over one client."""
        client = OpenAIClient(self.url, "tiny", deadline_s=60.0)
        for name in ids:
            prompt = Prompt(prompt_id="p", token_ids=(65, 66, 67), max_tokens=tokens)
            job = Job(id=name, prompt=prompt, phase="chaos", worker=0, scheduled_ns=time.time_ns())
            client.complete(job, _Sink(self, name))
        client.close()
        return [self.record(name) for name in ids]

    @contextmanager
    def completing(self, *ids: str, tokens: int) -> Iterator[None]:
        """Each in a thread of its own, beside the block; they have ended when it is left."""
        threads = [
            threading.Thread(target=self.complete, args=(name,), kwargs={"tokens": tokens}) for name in ids
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for thread in threads:
                thread.join()

    def record(self, name: str) -> RequestRecord:
        (found,) = [record for record in self.records if record.id == name]
        return found


@dataclass
class _Sink:
    """Receives the tokens and the record of one request of a client."""

    client: ProxiedClient
    name: str

    def tokens(self, count: int) -> None:
        self.client.tokens_received[self.name] += count

    def ended(self, record: RequestRecord) -> None:
        self.client.records.append(record)


@dataclass
class Bench:
    """The three of them."""

    mock: MockServer
    network: ProxyClient
    client: ProxiedClient
    process: subprocess.Popen[bytes]
    port: int

    @property
    def mock_port(self) -> int:
        return int(self.mock.url.rpartition(":")[2])

    def reported(self, event: ProxyEvent, strike: str) -> ProxyReport:
        wait_for(lambda: self.network.report(event, strike) is not None)
        report = self.network.report(event, strike)
        assert report is not None
        return report

    def quickest_ms(self, what: str, enough_ms: float, tokens: int = 10) -> float:
        """The shortest TTFT of a few requests, ms.

        On a busy machine it takes as many requests as are needed to be quick enough.
        """
        times: list[float] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(times) < 4 or (min(times) > enough_ms and time.monotonic() < deadline):
            (record,) = self.client.complete(f"{what}-{len(times)}", tokens=tokens)
            assert record.first_us is not None
            times.append(record.first_us / 1000)
        return min(times)

    def began(self, *ids: str) -> bool:
        """Whether tokens of all these have reached their clients."""
        return all(self.client.tokens_received.get(name) for name in ids)

    @contextmanager
    def left_by_client(self, name: str) -> Iterator[None]:
        """A request whose client leaves at the end of the block, whatever has come."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(_request({"prompt": [1], "max_tokens": 300, "stream": True}, name))
            reader = threading.Thread(target=self._read, args=(connection, name))
            reader.start()
            yield
            connection.shutdown(socket.SHUT_RDWR)
            reader.join()

    def _read(self, connection: socket.socket, name: str) -> None:
        with suppress(ConnectionError):
            while data := connection.recv(65536):
                self.client.tokens_received[name] += data.count(b"data: ")

    def exchange(self, port: int, prompt: list[int]) -> bytes:
        """All that comes back, the ids of the prompt among it."""
        body = {"prompt": prompt, "max_tokens": 5, "stream": True, "return_token_ids": True}
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
            connection.sendall(_request(body, "same", "connection: close\r\n"))
            return b"".join(iter(lambda: connection.recv(65536), b""))


def _request(body: object, name: str, headers: str = "") -> bytes:
    """The bytes of a completion request."""
    content = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nx-request-id: {name}\r\n{headers}"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


@contextmanager
def proxied(folder: Path, settings: Settings = SCHEDULE) -> Iterator[Bench]:
    """Run a mock server with the network proxy in front of it for the time of the block."""
    with MockServer(settings, folder / "sent.jsonl") as mock:
        command = proxy_command(int(mock.url.rpartition(":")[2]), folder / "network.jsonl")
        process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, process_group=0)
        assert process.stdin is not None
        network = ProxyClient(process.stdin, folder / "network.jsonl")
        try:
            port = poll(network.port, lambda found: found is not None, PATIENCE_S, 0.02)
            assert port is not None
            yield Bench(mock, network, ProxiedClient(f"http://127.0.0.1:{port}"), process, port)
        finally:
            network.close()
            process.wait(10.0)


def gaps_ms(record: RequestRecord) -> list[float]:
    """The gaps between token events of a record, in milliseconds."""
    return [(later - earlier) / 1000 for earlier, later in pairwise(record.chunk_us)]
