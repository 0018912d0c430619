"""Strikes by crowds of clients that leave."""

from __future__ import annotations

import hashlib
import json
import random
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.outside.clients.crowd import Crowd, Member
from chaos.outside.clients.forms import Target, http_request
from chaos.outside.injector import Hold, Refused, Strike
from history.protocol.outside import AbortStorm, ClientsLeft
from history.records import ABANDONED, CROWD, Outcome, RequestError, RequestRecord
from history.writer import LineWriter

LONGEST_MESSAGE = 500


class LeavingCrowds:
    """Crowds that ask one server."""

    kinds = ("abort_storm",)

    def __init__(self, target: Target, block_size: int, records: Path) -> None:
        """`records`: the file to which each request is added when its client has left."""
        self._target = target
        self._block_size = block_size
        self._records = records

    def obstacle(self, kind: str) -> str | None:
        return None

    def hold(self, strike: Strike) -> Hold:
        return _Storm(strike, self._target, self._block_size, self._records)


class _Storm:
    """One crowd, from its coming to its leaving."""

    def __init__(self, strike: Strike, target: Target, block_size: int, records: Path) -> None:
        self._answer_tokens = int(strike.params["max_tokens"])
        self._longest = int(strike.params["prompt_tokens"]) + self._answer_tokens
        self._context = target.max_model_len
        self._block_size = block_size
        self._records = records
        self._evidence: AbortStorm | None = None
        members = [_member(strike, number, target) for number in range(int(strike.params["clients"]))]
        self._crowd = Crowd(members, target.port, float(strike.params["for_s"]))

    def strike(self) -> None:
        if self._longest > self._context:
            raise Refused(f"{self._longest} tokens of prompt and answer, the model takes {self._context}")
        self._crowd.come()

    def proof(self) -> AbortStorm | None:
        """What all of them had when they had left."""
        if self._evidence is None and self._crowd.over():
            self._evidence = self._told()
        return self._evidence

    def lift(self) -> None:
        self._crowd.leave()

    def lifted(self) -> ClientsLeft | None:
        """Only after the proof, which tells all there is."""
        return ClientsLeft(clients=len(self._crowd.members)) if self._evidence is not None else None

    def _told(self) -> AbortStorm:
        # All of them, unless a signal came in between.
        members = [member for member in self._crowd.members if member.start_ns]
        with LineWriter(self._records) as file:
            for member in members:
                file.write(_record(member, self._answer_tokens, self._block_size))
        heard = [member.hearing.heard for member in members]
        return AbortStorm(
            clients=len(members),
            sent=sum(member.sent for member in members),
            begun=sum(bool(one.token_ids) for one in heard),
            answered=sum(one.whole for one in heard),
            left_ns=self._crowd.left_ns,
            requests=[member.name for member in members],
        )


def _member(strike: Strike, number: int, target: Target) -> Member:
    """A client with a prompt that nobody else has."""
    name = f"{CROWD}-{strike.fault}-{strike.n}-{number}"
    lot = random.Random(strike.draw(f"prompt {number}"))
    # A byte is a token that any byte-level vocabulary knows.
    prompt = list(lot.randbytes(int(strike.params["prompt_tokens"])))
    body: dict[str, Any] = {
        "model": target.model,
        "prompt": prompt,
        "max_tokens": int(strike.params["max_tokens"]),
        "temperature": 0,
        "logprobs": 1,
        "ignore_eos": True,
        "return_token_ids": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return Member(name, http_request(json.dumps(body).encode(), name=name), prompt)


def _record(member: Member, max_tokens: int, block_size: int) -> RequestRecord:
    """As of any other client: what it asked and what came of it."""
    heard = member.hearing.heard
    outcome, error = _end(member)
    return RequestRecord(
        id=member.name,
        prompt_id=member.name,
        phase=CROWD,
        worker=0,
        prompt_tokens=len(member.prompt),
        max_tokens=max_tokens,
        intended_ns=member.start_ns,
        start_ns=member.start_ns,
        start_mono_ns=member.start_mono_ns,
        end_us=member.end_us,
        first_us=heard.chunk_us[0] if heard.chunk_us else None,
        chunk_us=heard.chunk_us,
        chunk_tokens=heard.chunk_tokens,
        token_ids=heard.token_ids,
        logprobs=heard.logprobs,
        usage=heard.usage,
        finish_reason=heard.finish_reason,
        status=heard.status,
        outcome=outcome,
        error=error,
        first_block=_first_block(member.prompt[:block_size], block_size),
    )


def _end(member: Member) -> tuple[Outcome, RequestError | None]:
    heard = member.hearing.heard
    if member.failure is not None:
        kind, message = member.failure
        return "error", RequestError(kind=kind, status=heard.status, message=message[:LONGEST_MESSAGE])
    if heard.whole:
        return "ok", None
    what = f"after {len(heard.token_ids)} tokens" if member.sent else "before the request was sent whole"
    return "aborted", RequestError(kind=ABANDONED, status=heard.status, message=f"left on purpose {what}")


def _first_block(tokens: Sequence[int], size: int) -> str | None:
    """In the form in which the load tells it."""
    if len(tokens) < size:
        return None
    return hashlib.blake2b(array("q", tokens).tobytes(), digest_size=6).hexdigest()
