"""Strikes by clients that send what no server can serve."""

from __future__ import annotations

from chaos.outside.clients.forms import MALFORMED, OVERSIZED, Target, chosen
from chaos.outside.clients.sending import Sending
from chaos.outside.injector import Hold, Strike
from history.protocol.outside import NO_STATUS, RequestsSent, WrongRequestsSent

FORMS = {"malformed_request": MALFORMED, "oversized_request": OVERSIZED}


class WrongRequests:
    """Malformed and oversized requests to one server."""

    kinds = tuple(FORMS)

    def __init__(self, target: Target) -> None:
        self._target = target

    def obstacle(self, kind: str) -> str | None:
        return None

    def hold(self, strike: Strike) -> Hold:
        forms = chosen(FORMS[strike.kind], strike.params["form"])
        return _Sent(Sending(forms, self._target, float(strike.params["for_s"])))


class _Sent:
    """One strike: all its requests, from the first to the last answer."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending

    def strike(self) -> None:
        self._sending.start()

    def proof(self) -> WrongRequestsSent | None:
        """What all of them came to."""
        return self._evidence() if self._sending.over() else None

    def lift(self) -> None:
        self._sending.stop()

    def lifted(self) -> RequestsSent | None:
        return RequestsSent(requests=len(self._sending.answers())) if self._sending.over() else None

    def _evidence(self) -> WrongRequestsSent:
        answers = self._sending.answers()
        return WrongRequestsSent(
            forms=[answer.form for answer in answers],
            statuses=[answer.status or NO_STATUS for answer in answers],
            ms=[round(answer.ms) for answer in answers],
            bodies=[answer.body for answer in answers],
        )
