"""The fault `abort_storm`: many clients send a request each and disconnect together."""

from __future__ import annotations

import json
import random
from typing import Any

from chaos.inside.fault_kind import CONFORMING, Parameter
from chaos.outside.completion_stream import BurstClient, BurstClients
from chaos.outside.injector import (
    CLIENT,
    EVERYWHERE,
    TRIGGER_ON,
    DueInjection,
    InjectionRefused,
    OutsideKind,
    duration_s,
)
from chaos.outside.raw_requests import ClientTarget, http_request
from history.fired_fault import Doubt, FiredFault
from history.jsonl import LineWriter
from history.protocol.outside import AbortStorm, ClientsLeft
from history.records import ABANDONED, CROWD, Outcome, RequestError, RequestRecord, first_block_of

LONGEST_MESSAGE = 500


class _Storm:
    """One storm, from its connections to their end."""

    def __init__(self, injection: DueInjection, target: ClientTarget) -> None:
        self._answer_tokens = int(injection.params["max_tokens"])
        self._longest = int(injection.params["prompt_tokens"]) + self._answer_tokens
        self._context = target.max_model_len
        self._block_size = target.block_size
        self._records = target.records
        self._evidence: AbortStorm | None = None
        clients = [_client(injection, number, target) for number in range(int(injection.params["clients"]))]
        self._burst = BurstClients(clients, target.port, float(injection.params["duration_s"]))

    def apply(self) -> None:
        if self._longest > self._context:
            raise InjectionRefused(
                f"{self._longest} tokens of prompt and answer, the model takes {self._context}"
            )
        self._burst.start()

    def verify(self) -> AbortStorm | None:
        """What all clients had received when they disconnected."""
        if self._evidence is None and self._burst.over():
            self._evidence = self._collect_evidence()
        return self._evidence

    def revert(self) -> None:
        self._burst.disconnect()

    def reverted(self) -> ClientsLeft | None:
        """What was reverted; only after the proof, which has all the evidence."""
        return ClientsLeft(clients=len(self._burst.clients)) if self._evidence is not None else None

    def _collect_evidence(self) -> AbortStorm:
        # All of them, unless a signal came in between.
        clients = [client for client in self._burst.clients if client.start_ns]
        with LineWriter(self._records) as file:
            for client in clients:
                file.write(_record(client, self._answer_tokens, self._block_size))
        states = [client.stream.state for client in clients]
        return AbortStorm(
            clients=len(clients),
            sent=sum(client.sent for client in clients),
            begun=sum(bool(state.token_ids) for state in states),
            answered=sum(state.whole for state in states),
            left_ns=self._burst.left_ns,
            requests=[client.name for client in clients],
        )


def _client(injection: DueInjection, number: int, target: ClientTarget) -> BurstClient:
    """A client with a unique prompt."""
    name = f"{CROWD}-{injection.fault}-{injection.n}-{number}"
    rng = random.Random(injection.draw(f"prompt {number}"))
    # A byte is a token that any byte-level vocabulary knows.
    prompt = list(rng.randbytes(int(injection.params["prompt_tokens"])))
    body: dict[str, Any] = {
        "model": target.model,
        "prompt": prompt,
        "max_tokens": int(injection.params["max_tokens"]),
        "temperature": 0,
        "logprobs": 1,
        "ignore_eos": True,
        "return_token_ids": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return BurstClient(name, http_request(json.dumps(body).encode(), name=name), prompt)


def _record(client: BurstClient, max_tokens: int, block_size: int) -> RequestRecord:
    """The same record as of any load-test request."""
    state = client.stream.state
    outcome, error = _end(client)
    return RequestRecord(
        id=client.name,
        prompt_id=client.name,
        phase=CROWD,
        worker=0,
        prompt_tokens=len(client.prompt),
        max_tokens=max_tokens,
        scheduled_ns=client.start_ns,
        start_ns=client.start_ns,
        start_mono_ns=client.start_mono_ns,
        end_us=client.end_us,
        first_us=state.chunk_us[0] if state.chunk_us else None,
        chunk_us=state.chunk_us,
        chunk_tokens=state.chunk_tokens,
        token_ids=state.token_ids,
        logprobs=state.logprobs,
        usage=state.usage,
        finish_reason=state.finish_reason,
        status=state.status,
        outcome=outcome,
        error=error,
        first_block=first_block_of(client.prompt, block_size),
    )


def _end(client: BurstClient) -> tuple[Outcome, RequestError | None]:
    state = client.stream.state
    if client.failure is not None:
        kind, message = client.failure
        return "error", RequestError(kind=kind, status=state.status, message=message[:LONGEST_MESSAGE])
    if state.whole:
        return "ok", None
    what = f"after {len(state.token_ids)} tokens" if client.sent else "before the request was sent completely"
    return "aborted", RequestError(
        kind=ABANDONED, status=state.status, message=f"disconnected on purpose {what}"
    )


def _left(case: FiredFault) -> Doubt | None:
    """The server's journal shows an abort of at least one request of each crowd."""
    left = case.abandoned()
    records = {record.id: record for record in case.history.requests}
    for line in case.fired:
        crowd = [records[name] for name in case.window(line).requests if name in records]
        if not crowd:
            return case.doubt("no-record", f"no client of invocation {line.n} has a record")
        if all(record.outcome == "ok" for record in crowd):
            return case.doubt(
                "answered-before-leaving", "the server had answered all of them before they disconnected"
            )
        if not any(record.id in left for record in crowd):
            return case.doubt("not-given-up", "the server's journal shows an abort of none of them")
    return None


ABORT_STORM = OutsideKind(
    name="abort_storm",
    target=CLIENT,
    contract=CONFORMING,
    effect="separate clients send a completion request each, and all disconnect at once, as when "
    "their process is killed",
    evidence="requests sent; those with a token, and with a complete answer; time of the disconnect",
    consequence="the server aborts the unanswered requests and frees their blocks; requests of "
    "the load are not affected",
    heals="when all have disconnected",
    parameters={
        "trigger_on": TRIGGER_ON,
        "clients": Parameter(64, 1, 1000, about="number of clients"),
        "prompt_tokens": Parameter(512, 1, 32_768, about="tokens of each prompt, no two alike"),
        "max_tokens": Parameter(64, 1, 32_768, about="tokens of each answer"),
        "duration_s": duration_s(0.5, "until they disconnect"),
    },
    stacks=EVERYWHERE,
    firing=AbortStorm,
    reverted=ClientsLeft,
    inject=_Storm,
    check=_left,
    silences=False,
)

FAULTS = (ABORT_STORM,)
