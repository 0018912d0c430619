"""A server program that looks enough like one under test for a whole run to be conducted against it.

It tests our conducting only. It says nothing about vLLM: what a real server does is tested on a real one.
Run as a module, with the real server's flags, which are ignored, and those of `main`, which make it bad.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

from chaos.inside.fault_kind import SCHEDULER, WORKER
from chaos.inside.fault_runtime import FaultRuntime
from tests.fakes.openai_server import answer_logprobs, answer_tokens

CRASH_CODE = 7
FATAL_LINE = "ValueError: this model cannot be served"
LABELS = {"engine": "0", "model_name": "tiny"}


@dataclass
class Figures:
    """What /metrics shows. It moves with the requests, under one lock."""

    started: float = field(default_factory=time.time)
    lock: threading.Lock = field(default_factory=threading.Lock)
    begun_total: int = 0
    running: int = 0
    prompt: int = 0
    generated: int = 0
    begun: int = 0
    answered: int = 0

    def begin(self) -> int:
        """A request comes in; returns its number, from 1."""
        with self.lock:
            self.begun_total += 1
            self.running += 1
            return self.begun_total

    def end(self, prompt: int, generated: int, *, whole: bool) -> None:
        """A request is over, as the first thing that anyone can know of its end."""
        with self.lock:
            self.running -= 1
            self.prompt += prompt
            self.generated += generated
            self.begun += generated > 0
            self.answered += whole

    def text(self) -> str:
        with self.lock:
            values: list[tuple[str, dict[str, str], float]] = [
                ("num_requests_running", {}, self.running),
                ("num_requests_waiting", {}, 0),
                ("kv_cache_usage_perc", {}, self.running / 100),
                ("prompt_tokens_total", {}, self.prompt),
                ("prompt_tokens_cached_total", {}, 0),
                ("prompt_tokens_cached_by_source_total", {"source": "device"}, 0),
                ("prompt_tokens_by_source_total", {"source": "local_compute"}, self.prompt),
                ("prompt_tokens_by_source_total", {"source": "local_cache_hit"}, 0),
                ("prompt_tokens_by_source_total", {"source": "external_kv_transfer"}, 0),
                ("generation_tokens_total", {}, self.generated),
                ("time_to_first_token_seconds_count", {}, self.begun),
                ("request_success_total", {"finished_reason": "length"}, self.answered),
                ("request_success_total", {"finished_reason": "stop"}, 0),
                ("prefix_cache_queries_total", {}, self.prompt),
                ("prefix_cache_hits_total", {}, 0),
                ("external_prefix_cache_queries_total", {}, 0),
                ("external_prefix_cache_hits_total", {}, 0),
                ("num_preemptions_total", {}, 0),
            ]
        lines = [f"process_start_time_seconds {self.started!r}"]
        for name, labels, value in values:
            inner = ",".join(f'{key}="{label}"' for key, label in {**LABELS, **labels}.items())
            lines.append(f"vllm:{name}{{{inner}}} {float(value)!r}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Manners:
    """How the server behaves. Requests are counted from 1 over all, the conductor's own included."""

    token_s: float
    die_at: int
    stall_at: int


class Server(ThreadingHTTPServer):
    """The threading HTTP server with the figures and the manners of the fake."""

    daemon_threads = True
    request_queue_size = 128
    figures: Figures
    manners: Manners


class Handler(BaseHTTPRequestHandler):
    """Answers the endpoints of vLLM that the suite uses."""

    protocol_version = "HTTP/1.1"
    server: Server

    def handle(self) -> None:
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing: the log holds what the tests look for."""

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(self.server.figures.text())
        elif self.path == "/health":
            self._answer("")
        elif self.path == "/die":
            os._exit(CRASH_CODE)
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path.partition("?")[0] == "/reset_prefix_cache":
            self._answer(json.dumps({"success": self.server.figures.running == 0}))
        elif self.path == "/v1/completions":
            self._complete(json.loads(body))
        else:
            self.send_error(404)

    def _answer(self, text: str) -> None:
        content = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _complete(self, body: dict[str, Any]) -> None:
        figures, manners = self.server.figures, self.server.manners
        number = figures.begin()
        tokens = answer_tokens(body["prompt"], body["max_tokens"])
        if manners.stall_at and number >= manners.stall_at:
            threading.Event().wait()
        sent = 0
        try:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for token in tokens[:-1]:
                time.sleep(manners.token_s)
                self._event(_chunk(token, None))
                sent += 1
                if number == manners.die_at:
                    _log("RuntimeError: no more blocks")
                    os._exit(CRASH_CODE)
        except (BrokenPipeError, ConnectionResetError):
            figures.end(len(body["prompt"]), sent, whole=False)
            raise
        figures.end(len(body["prompt"]), len(tokens), whole=True)
        self._event(_chunk(tokens[-1], "length"))
        self._event(_usage(len(body["prompt"]), len(tokens)))
        self._data(b"[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, content: dict[str, Any]) -> None:
        self._data(json.dumps(content).encode())

    def _data(self, content: bytes) -> None:
        line = b"data: " + content + b"\n\n"
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")


def _chunk(token: int, finish: str | None) -> dict[str, Any]:
    """One event of a streamed completion with a single token."""
    choice = {
        "index": 0,
        "text": chr(token),
        "logprobs": {"token_logprobs": answer_logprobs([token])},
        "finish_reason": finish,
        "token_ids": [token],
    }
    return {"id": "cmpl-1", "object": "text_completion", "choices": [choice]}


def _usage(prompt: int, completion: int) -> dict[str, Any]:
    """The last event of a stream, with the usage."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return {"id": "cmpl-1", "object": "text_completion", "choices": [], "usage": usage}


def _log(text: str) -> None:
    """Write a line to the server's log."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _fork_engine() -> None:
    """A second process, as servers have one. Each ends by itself when the other one is gone."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(theirs)
        Path("/proc/self/comm").write_text("VLLM::EngineCore")
        os.read(ours, 1)
        os._exit(0)
    os.close(ours)
    _log(f"engine process {pid}")
    threading.Thread(target=_end_with, args=(pid,), daemon=True).start()


def _end_with(engine: int) -> None:
    """Exit as vLLM does when its engine process ended."""
    os.waitpid(engine, 0)
    _log("EngineCore died unexpectedly")
    os._exit(1)


def _load_chaos(transfer_config: str, lacking: str) -> None:
    """The real fault engines, as in a vLLM that offers no place for one kind of fault."""
    control = Path(json.loads(transfer_config)["kv_connector_extra_config"]["kvchaos_control"])
    for role in (SCHEDULER, WORKER):
        FaultRuntime(role, control, "G0", unsupported_kinds={lacking: f"{lacking} has no place here"})


def _write_audit_log(transfer_config: str, resident: int) -> None:
    """The real fault engines and ledgers, of a server that never offloads a block."""
    control = Path(json.loads(transfer_config)["kv_connector_extra_config"]["kvchaos_control"])
    for role in (SCHEDULER, WORKER):
        ledger = FaultRuntime(role, control, "G0", ledger=True).audit
        if role == SCHEDULER:
            ledger.resident = resident


def _end_slowly(seconds: float) -> None:
    """Exit only some seconds after SIGTERM."""

    def handler(number: int, frame: FrameType | None) -> None:
        _log("ending")
        time.sleep(seconds)
        os._exit(0)

    signal.signal(signal.SIGTERM, handler)


def main() -> None:
    """Serve like vLLM, with the faults that the --fake options name."""
    options = argparse.ArgumentParser(allow_abbrev=False)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--fake-token-s", type=float, default=0.0, help="pause before each token")
    options.add_argument("--fake-die-at", type=int, default=0, help="die in the midst of this request")
    options.add_argument("--fake-stall-at", type=int, default=0, help="no token from this request on")
    options.add_argument("--fake-exit", type=int, help="exit with this code at the start")
    options.add_argument(
        "--fake-once", type=Path, help="die at the start if this file is there, else make it"
    )
    options.add_argument("--fake-mute", action="store_true", help="never get ready")
    options.add_argument("--fake-slow-end", type=float, default=0.0, help="seconds from SIGTERM to the end")
    options.add_argument("--fake-lacks", help="have the chaos module loaded, with no place for this fault")
    options.add_argument("--fake-resident", type=int, help="have ledgers, with so many blocks in the tier")
    options.add_argument("--kv-transfer-config", default="{}")
    given, _ = options.parse_known_args()
    if given.fake_exit is not None:
        _log(FATAL_LINE)
        sys.exit(given.fake_exit)
    if given.fake_once is not None:
        if given.fake_once.exists():
            sys.exit(CRASH_CODE)
        given.fake_once.touch()
    _fork_engine()
    if given.fake_lacks:
        _load_chaos(given.kv_transfer_config, given.fake_lacks)
    if given.fake_resident is not None:
        _write_audit_log(given.kv_transfer_config, given.fake_resident)
    if given.fake_slow_end:
        _end_slowly(given.fake_slow_end)
    if given.fake_mute:
        _log("loading, and loading")
        threading.Event().wait()
    server = Server(("127.0.0.1", given.port), Handler)
    server.figures = Figures()
    server.manners = Manners(given.fake_token_s, given.fake_die_at, given.fake_stall_at)
    _log("ready")
    server.serve_forever()


if __name__ == "__main__":
    main()
