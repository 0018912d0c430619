"""The fault `cache_reset`: an operator resets the prefix cache, and with it the offload tier, under load.

`POST /reset_prefix_cache` is how training loops and operators drop what is cached, as after new weights.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlencode

from chaos.inside.fault_kind import CONFORMING, Parameter
from chaos.outside.injector import CLIENT, EVERYWHERE, TRIGGER_ON, DueInjection, OutsideKind, duration_s
from chaos.outside.raw_requests import ClientTarget, RawRequest, RequestSender, http_request
from history.fired_fault import Doubt, FiredFault
from history.protocol.outside import NO_STATUS, CachesReset, RequestsSent

RESET_PATH = "/reset_prefix_cache"
RESET_LOG_LINE = "Resetting prefix cache"


def _reset_request(*, tier: bool, running: bool) -> RawRequest:
    chosen = {"reset_external": tier, "reset_running_requests": running}
    query = urlencode({name: "true" for name, is_on in chosen.items() if is_on})
    path = f"{RESET_PATH}?{query}" if query else RESET_PATH
    return RawRequest("reset", "a reset of the caches", lambda target: http_request(b"", path=path))


class _Reset:
    """One request for a reset, until its response."""

    def __init__(self, injection: DueInjection, target: ClientTarget) -> None:
        form = _reset_request(tier=bool(injection.params["tier"]), running=bool(injection.params["running"]))
        self._sender = RequestSender([form], target, float(injection.params["duration_s"]))

    def apply(self) -> None:
        self._sender.start()

    def verify(self) -> CachesReset | None:
        """The response."""
        if not self._sender.over() or not self._sender.answers():
            return None
        answer = self._sender.answers()[0]
        return CachesReset(status=answer.status or NO_STATUS, ms=round(answer.ms), body=answer.body)

    def revert(self) -> None:
        self._sender.stop()

    def reverted(self) -> RequestsSent | None:
        return RequestsSent(requests=len(self._sender.answers())) if self._sender.over() else None


def _logged(case: FiredFault) -> Doubt | None:
    """The server accepted each reset that it answered, and its log has a line for each."""
    accepted = 0
    for line in case.fired:
        firing = line.firing
        status = firing.status if isinstance(firing, CachesReset) else NO_STATUS
        if status not in (HTTPStatus.OK, NO_STATUS):
            return case.doubt("not-accepted", f"the reset at invocation {line.n} got status {status}")
        accepted += status == HTTPStatus.OK
    logged = sum(RESET_LOG_LINE in line for line in case.history.log)
    if not accepted or logged < accepted:
        text = f"{accepted} resets were accepted, but the server's log has {logged}"
        return case.doubt("not-logged", text, {"accepted": accepted, "logged": logged})
    return None


FAULTS = (
    OutsideKind(
        name="cache_reset",
        target=CLIENT,
        contract=CONFORMING,
        effect="a client requests a reset of the prefix cache, as an operator does",
        evidence="status and begin of the response",
        consequence="the server forgets its cached blocks and computes them again; answers stay the same",
        heals="when the response has arrived",
        parameters={
            "trigger_on": TRIGGER_ON,
            "tier": Parameter(True, about="whether the offload tier is reset, too (from 0.22 on)"),
            "running": Parameter(False, about="whether running requests are preempted first (from 0.16 on)"),
            "duration_s": duration_s(20.0, "that the client waits for the response"),
        },
        stacks=EVERYWHERE,
        firing=CachesReset,
        reverted=RequestsSent,
        inject=_Reset,
        check=_logged,
        silences=False,
        ends_alone=True,
    ),
)
