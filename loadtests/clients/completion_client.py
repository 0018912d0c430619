"""The base of the clients: they send completions to the server and record each request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any
from urllib.parse import urlsplit

import gevent

from history.records import ABANDONED, DEADLINE_EXCEEDED
from loadtests.clients.chunks import MalformedChunk, StreamedResponse
from loadtests.clients.completion import body_of
from loadtests.clients.in_flight_request import InFlightRequest
from loadtests.connections.pool import Pool
from loadtests.failures import Abandoned, RequestFailure
from loadtests.job import Job, Sink
from loadtests.target import target_url

SERVED_MODEL = "tiny"
"""Name under which the server under test serves its model."""
HTTP_PORT = 80
DRAIN_S = 1.0
"""For the end of a body behind its last event; a connection that takes longer is closed."""


class CompletionClient(ABC):
    """Sends completions to one server. Greenlets may share it.

    What a request is given up for, and how each end is recorded, is the same in all clients.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        deadline_s: float,
        block_size: int | None = None,
        *,
        with_gaps: bool = False,
        own_host: str | None = None,
    ) -> None:
        """`block_size` is the server's, tokens; None when the records need no hash of first blocks.
        `with_gaps`: record the logprob margins between the two likeliest tokens.

        Raises ValueError when the address is neither on this machine nor `own_host`, the conductor's.
        """
        self._url = target_url(base_url, own_host)
        address = urlsplit(self._url)
        self._netloc = address.netloc
        self._pool = Pool(address.hostname or "", address.port or HTTP_PORT)
        self._model = model
        self._deadline_s = deadline_s
        self._block_size = block_size
        self._with_gaps = with_gaps
        self._prepare()

    @abstractmethod
    def _prepare(self) -> None:
        """Make what all requests share, once the address is known."""

    def close(self) -> None:
        """Give up all connections."""
        self._pool.close()

    @abstractmethod
    def send(self, in_flight: InFlightRequest, sink: Sink) -> None:
        """Send one request and process its response, up to the end.

        Raises RequestFailed, MalformedChunk, Abandoned, and what the sink or gevent raise.
        """

    def complete(self, job: Job, sink: Sink) -> None:
        """Send one request and see it through to its end, within the deadline.

        The end goes to the sink as a record. A kill of the greenlet is recorded, then passed on.
        """
        prompt = job.prompt
        echoed_tokens = prompt.token_ids if prompt.sampling.prompt_logprobs is not None else ()
        answer = StreamedResponse(prompt.sampling.n, prompt=echoed_tokens, with_gaps=self._with_gaps)
        in_flight = InFlightRequest(job, self._block_size, answer)
        deadline = gevent.Timeout(self._deadline_s)
        patience_s = prompt.abort.after_s if prompt.abort else None
        try:
            # A timeout of None never fires.
            with deadline, gevent.Timeout(patience_s, Abandoned):
                self.send(in_flight, sink)
            in_flight.end_of_stream(in_flight.elapsed_us())
        except Abandoned:
            in_flight.abort(ABANDONED, f"given up on purpose after {in_flight.answer.tokens} tokens")
        except gevent.Timeout as fired:
            if fired is not deadline:
                raise
            in_flight.fail(DEADLINE_EXCEEDED, f"no complete answer within {self._deadline_s:g} s")
        except gevent.GreenletExit:
            in_flight.abort("StoppedEarly", "the load was stopped before the answer was complete")
            raise
        except RequestFailure as failure:
            in_flight.fail(failure.kind, str(failure))
        except MalformedChunk as error:
            in_flight.fail("MalformedChunk", str(error))
        finally:
            sink.ended(in_flight.record())

    def body(self, job: Job) -> dict[str, Any]:
        """What is sent, to be encoded as JSON."""
        return body_of(job.prompt, self._model, with_gaps=self._with_gaps)
