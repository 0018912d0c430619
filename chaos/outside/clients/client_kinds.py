"""The kinds of fault by a server's clients."""

from __future__ import annotations

from chaos.inside.fault_kind import LEGAL, Parameter
from chaos.outside.clients.malformed_requests import EACH, MALFORMED, OVERSIZED, MalformedRequest
from chaos.outside.outside_kind import BY, CLIENT, EVERYWHERE, OutsideKind, for_s


def _wrong(name: str, what: str, forms: tuple[MalformedRequest, ...]) -> OutsideKind:
    """A kind of request that no server can serve."""
    names = tuple(form.name for form in forms)
    return OutsideKind(
        name=name,
        target=CLIENT,
        contract=LEGAL,
        effect=f"{what}, sent to the server itself: {'; '.join(form.about for form in forms)}",
        evidence="forms sent, status and begin of the answer to each",
        consequence="each is refused with a status from 400 to 499; no request of the load notices",
        heals="when the last of them is over",
        parameters={
            "by": BY,
            "form": Parameter(EACH, choices=(EACH, *names), about="which"),
            "for_s": for_s(20.0, "until nothing more is sent; also the longest wait for one answer"),
        },
        stacks=EVERYWHERE,
        silences=False,
        ends_alone=True,
    )


_STORM = OutsideKind(
    name="abort_storm",
    target=CLIENT,
    contract=LEGAL,
    effect="clients of their own ask the server itself for a completion each, and all leave at once, as when "
    "their process is killed",
    evidence="requests sent, those with a token and those answered whole when they left, when they left",
    consequence="the server gives up those that it has not answered, and what it held for them is free; no "
    "request of the load notices",
    heals="when all have left",
    parameters={
        "by": BY,
        "clients": Parameter(64, 1, 1000, about="how many"),
        "prompt_tokens": Parameter(512, 1, 32_768, about="tokens of each prompt, no two alike"),
        "max_tokens": Parameter(64, 1, 32_768, about="tokens of each answer"),
        "for_s": for_s(0.5, "until they leave"),
    },
    stacks=EVERYWHERE,
    silences=False,
)

CLIENT_KINDS = (
    _wrong("malformed_request", "requests that are none", MALFORMED),
    _wrong("oversized_request", "requests that are too large", OVERSIZED),
    _STORM,
)
