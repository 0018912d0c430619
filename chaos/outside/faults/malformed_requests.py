"""The faults `malformed_request` and `oversized_request`: clients send requests that no server can serve."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus

from chaos.inside.fault_kind import CONFORMING, Parameter
from chaos.outside.injector import CLIENT, EVERYWHERE, TRIGGER_ON, DueInjection, OutsideKind, duration_s
from chaos.outside.raw_requests import ClientTarget, RawRequest, RequestSender, http_request
from history.fired_fault import Doubt, FiredFault
from history.protocol.outside import NO_STATUS, RequestsSent, WrongRequestsSent
from history.protocol.schedule import Value

HUGE_TOKENS = 1_000_000
HUGE_BYTES = 32 << 20
DEEP = 100_000
MANY = 100
NO_TOKEN = 2**31 - 1


def _completion(target: ClientTarget, **changed: object) -> bytes:
    """A valid request except for `changed`; None omits a parameter."""
    parameters: dict[str, object] = {"model": target.model, "prompt": [1, 2, 3], "max_tokens": 2, **changed}
    return json.dumps({name: value for name, value in parameters.items() if value is not None}).encode()


def _with(**changed: Value | list[int] | None) -> Callable[[ClientTarget], bytes]:
    return lambda target: http_request(_completion(target, **changed))


def _of(body: bytes) -> Callable[[ClientTarget], bytes]:
    return lambda target: http_request(body)


MALFORMED = (
    RawRequest("no_http", "bytes that are no HTTP", lambda target: b"this is no HTTP\r\n\r\n"),
    RawRequest("no_length", "a length that is no number", lambda target: http_request(b"{}", length="many")),
    RawRequest("no_path", "an unknown path", lambda target: http_request(b"{}", path="/v1/nothing")),
    RawRequest(
        "no_method",
        "a method that the path does not allow",
        lambda target: http_request(b"{}", method="DELETE"),
    ),
    RawRequest("no_utf8", "a body that is not UTF-8", _of(b"\xff\xfe{")),
    RawRequest("no_json", "JSON that is cut off", _of(b'{"model": "tiny", "prompt": ')),
    RawRequest("null", "a body that is null", _of(b"null")),
    RawRequest("list", "a body that is a list", _of(b"[1]")),
    RawRequest("no_model", "an unknown model", _with(model="nobody")),
    RawRequest("no_prompt", "no prompt", _with(prompt=None)),
    RawRequest("empty_prompt", "a prompt without tokens", _with(prompt=[])),
    RawRequest("no_token", "a token id outside the vocabulary", _with(prompt=[NO_TOKEN])),
    RawRequest("no_number", "max_tokens that is text", _with(max_tokens="many")),
    RawRequest("negative", "negative max_tokens", _with(max_tokens=-1)),
    RawRequest(
        "cut_short",
        "a body shorter than its length, and a client that disconnects",
        lambda target: http_request(b'{"model": ', length="1000"),
        answered=False,
    ),
)

OVERSIZED = (
    RawRequest(
        "long_prompt",
        "a prompt one token longer than the context",
        lambda target: http_request(_completion(target, prompt=[1] * (target.max_model_len + 1))),
    ),
    RawRequest(
        "long_answer",
        "max_tokens one above the context",
        lambda target: http_request(_completion(target, max_tokens=target.max_model_len + 1)),
    ),
    RawRequest("huge_prompt", f"a prompt of {HUGE_TOKENS} tokens", _with(prompt=[1] * HUGE_TOKENS)),
    RawRequest("huge_text", f"a prompt of {HUGE_BYTES >> 20} MiB of text", _with(prompt="x" * HUGE_BYTES)),
    RawRequest(
        "many_prompts",
        f"{MANY} prompts, each one token longer than the context",
        lambda target: http_request(_completion(target, prompt=[[1] * (target.max_model_len + 1)] * MANY)),
    ),
    RawRequest("many_logprobs", "more logprobs than are allowed", _with(logprobs=HUGE_TOKENS)),
    RawRequest("deep", f"lists nested {DEEP} deep", _of(b'{"prompt": ' + b"[" * DEEP + b"]" * DEEP + b"}")),
)

EACH = "each"
"""All forms of a kind, one after the other."""


def chosen(forms: tuple[RawRequest, ...], name: Value) -> tuple[RawRequest, ...]:
    """The forms with this name; all of them for `each`."""
    return tuple(form for form in forms if name in (EACH, form.name))


class _MalformedRequests:
    """One injection: all its requests, from the first to the last response."""

    def __init__(self, forms: tuple[RawRequest, ...], injection: DueInjection, target: ClientTarget) -> None:
        self._forms = chosen(forms, injection.params["form"])
        self._sender = RequestSender(self._forms, target, float(injection.params["duration_s"]))

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
            unsent=[form.name for form in self._forms[len(answers) :]],
        )


def refused_status(status: int) -> bool:
    """Whether a status says that the request cannot be served."""
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR


def _refused(case: FiredFault) -> Doubt | None:
    """All requests were sent, and the server refused some of them by its own status."""
    for line in case.fired:
        sent = line.firing if isinstance(line.firing, WrongRequestsSent) else WrongRequestsSent()
        if not any(map(refused_status, sent.statuses)):
            return case.doubt(
                "none-refused", f"the server refused none of the requests at invocation {line.n}"
            )
        if sent.unsent:
            return case.doubt(
                "not-all-sent",
                f"the phase ended before {len(sent.unsent)} of the requests at invocation {line.n} were sent",
                {"unsent": len(sent.unsent)},
            )
    return None


def _wrong(name: str, what: str, forms: tuple[RawRequest, ...]) -> OutsideKind:
    """A kind of request that no server can serve."""
    names = tuple(form.name for form in forms)
    return OutsideKind(
        name=name,
        target=CLIENT,
        contract=CONFORMING,
        effect=f"{what}, sent to the server itself: {'; '.join(form.about for form in forms)}",
        evidence="forms sent, status and begin of each response",
        consequence="each is refused with a status from 400 to 499; requests of the load are not affected",
        heals="when the last of them has ended",
        parameters={
            "trigger_on": TRIGGER_ON,
            "form": Parameter(EACH, choices=(EACH, *names), about="which"),
            "duration_s": duration_s(
                20.0, "until nothing more is sent; also the longest wait for one answer"
            ),
        },
        stacks=EVERYWHERE,
        firing=WrongRequestsSent,
        reverted=RequestsSent,
        inject=lambda injection, target: _MalformedRequests(forms, injection, target),
        check=_refused,
        silences=False,
        ends_alone=True,
    )


FAULTS = (
    _wrong("malformed_request", "malformed requests", MALFORMED),
    _wrong("oversized_request", "oversized requests", OVERSIZED),
)
