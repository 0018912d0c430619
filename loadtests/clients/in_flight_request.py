"""A request in flight: its results so far, and its final record."""

from __future__ import annotations

import hashlib
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from history.records import TRUNCATED_STREAM, Outcome, RequestError, RequestRecord
from loadtests.clients.chunks import NS_PER_US, StreamedResponse
from loadtests.job import Job

LONGEST_MESSAGE = 500
CLIENT_FAULT = RequestError(
    kind="ClientFault", status=None, message="the load client itself failed; the log of the load tells how"
)


@dataclass(slots=True)
class InFlightRequest:
    """A request in flight. Until its end is known, its outcome is `unknown` and a client fault."""

    job: Job
    block_size: int | None
    """Tokens in a block of the server; None when the record needs no hash of the first block."""
    answer: StreamedResponse
    status: int | None = None
    outcome: Outcome = "unknown"
    error: RequestError | None = CLIENT_FAULT
    start_ns: int = field(default_factory=time.time_ns)
    start_mono_ns: int = field(default_factory=time.monotonic_ns)
    end_us: int | None = None
    """Once it has ended. What happens behind that changes nothing more."""

    @property
    def leave_after(self) -> int | None:
        """Tokens after which the client gives up on purpose; None: it does not."""
        abort = self.job.prompt.abort
        return abort.after_tokens if abort else None

    def elapsed_us(self) -> int:
        return (time.monotonic_ns() - self.start_mono_ns) // NS_PER_US

    def at_us(self, mono_ns: int) -> int:
        """A moment as offset from the start."""
        return (mono_ns - self.start_mono_ns) // NS_PER_US

    def end_of_stream(self, at_us: int) -> None:
        """The server closed the stream tidily at this offset from the start; was that a whole answer?"""
        if self.end_us is not None:
            return
        missing = self.answer.missing()
        if missing:
            self.fail(TRUNCATED_STREAM, f"the stream ended without {' and '.join(missing)}")
        else:
            self.outcome, self.error, self.end_us = "ok", None, at_us

    def fail(self, kind: str, message: str) -> None:
        self._end("error", kind, message)

    def abort(self, kind: str, message: str) -> None:
        self._end("aborted", kind, message)

    def _end(self, outcome: Outcome, kind: str, message: str) -> None:
        if self.end_us is not None:
            return
        self.outcome, self.end_us = outcome, self.elapsed_us()
        self.error = RequestError(kind=kind, status=self.status, message=message[:LONGEST_MESSAGE])

    def record(self) -> RequestRecord:
        job, answer = self.job, self.answer
        return RequestRecord(
            id=job.id,
            prompt_id=job.prompt.prompt_id,
            phase=job.phase,
            worker=job.worker,
            prompt_tokens=len(job.prompt.token_ids),
            max_tokens=job.prompt.max_tokens,
            intended_ns=job.scheduled_ns,
            start_ns=self.start_ns,
            start_mono_ns=self.start_mono_ns,
            end_us=self.elapsed_us() if self.end_us is None else self.end_us,
            first_us=answer.first_us,
            chunk_us=answer.chunk_us,
            chunk_tokens=answer.chunk_tokens,
            token_ids=answer.token_ids,
            logprobs=answer.logprobs,
            gaps=answer.gaps,
            prompt_logprobs=answer.prompt_logprobs,
            usage=answer.usage,
            finish_reason=answer.finish_reason,
            status=self.status,
            outcome=self.outcome,
            error=self.error,
            choices=job.prompt.sampling.n,
            held=job.client_queued,
            first_block=_first_block(job.prompt.token_ids, self.block_size),
        )


def _first_block(tokens: Sequence[int], size: int | None) -> str | None:
    if size is None or len(tokens) < size:
        return None
    return hashlib.blake2b(array("q", tokens[:size]).tobytes(), digest_size=6).hexdigest()
