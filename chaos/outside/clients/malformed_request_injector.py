"""The faults `malformed_request` and `oversized_request`: clients send requests that no server can serve."""

from __future__ import annotations

from chaos.outside.clients.malformed_requests import MALFORMED, OVERSIZED, ClientTarget, chosen
from chaos.outside.clients.request_sender import RequestSender
from chaos.outside.injector import ActiveFault, DueInjection
from history.protocol.outside import NO_STATUS, RequestsSent, WrongRequestsSent

MALFORMED_KINDS = {"malformed_request": MALFORMED, "oversized_request": OVERSIZED}


class MalformedRequestInjector:
    """Malformed and oversized requests to one server."""

    kinds = tuple(MALFORMED_KINDS)

    def __init__(self, target: ClientTarget) -> None:
        self._target = target

    def unsupported_reason(self, kind: str) -> str | None:
        return None

    def prepare(self, injection: DueInjection) -> ActiveFault:
        forms = chosen(MALFORMED_KINDS[injection.kind], injection.params["form"])
        return _MalformedRequests(RequestSender(forms, self._target, float(injection.params["for_s"])))


class _MalformedRequests:
    """One injection: all its requests, from the first to the last response."""

    def __init__(self, sender: RequestSender) -> None:
        self._sender = sender

    def apply(self) -> None:
        self._sender.start()

    def verify(self) -> WrongRequestsSent | None:
        """The responses to all of them."""
        return self._evidence() if self._sender.over() else None

    def revert(self) -> None:
        self._sender.stop()

    def reverted(self) -> RequestsSent | None:
        return RequestsSent(requests=len(self._sender.answers())) if self._sender.over() else None

    def _evidence(self) -> WrongRequestsSent:
        answers = self._sender.answers()
        return WrongRequestsSent(
            forms=[answer.form for answer in answers],
            statuses=[answer.status or NO_STATUS for answer in answers],
            ms=[round(answer.ms) for answer in answers],
            bodies=[answer.body for answer in answers],
        )
