"""The kinds of fault from outside: what each does, to whom, on which stacks, how it shows and how it ends."""

from __future__ import annotations

from chaos.inside.fault_kind import CONFORMING, Parameter
from chaos.outside.clients.malformed_requests import EACH, MALFORMED, OVERSIZED, MalformedRequest
from chaos.outside.injector import (
    CLIENT,
    CONTAINERS,
    EVERYWHERE,
    NETWORK,
    PROMETHEUS,
    SERVER,
    TRIGGER_ON,
    OutsideKind,
    duration_s,
)


def _wrong(name: str, what: str, forms: tuple[MalformedRequest, ...]) -> OutsideKind:
    """A kind of request that no server can serve."""
    names = tuple(form.name for form in forms)
    return OutsideKind(
        name=name,
        target=CLIENT,
        contract=CONFORMING,
        effect=f"{what}, sent to the server itself: {'; '.join(form.about for form in forms)}",
        evidence="forms sent, status and begin of the answer to each",
        consequence="each is refused with a status from 400 to 499; no request of the load notices",
        heals="when the last of them is over",
        parameters={
            "trigger_on": TRIGGER_ON,
            "form": Parameter(EACH, choices=(EACH, *names), about="which"),
            "duration_s": duration_s(
                20.0, "until nothing more is sent; also the longest wait for one answer"
            ),
        },
        stacks=EVERYWHERE,
        silences=False,
        ends_alone=True,
    )


_STORM = OutsideKind(
    name="abort_storm",
    target=CLIENT,
    contract=CONFORMING,
    effect="clients of their own ask the server itself for a completion each, and all leave at once, as when "
    "their process is killed",
    evidence="requests sent, those with a token and those answered whole when they left, when they left",
    consequence="the server aborts those that it has not answered, and frees their blocks; no "
    "request of the load notices",
    heals="when all have left",
    parameters={
        "trigger_on": TRIGGER_ON,
        "clients": Parameter(64, 1, 1000, about="how many"),
        "prompt_tokens": Parameter(512, 1, 32_768, about="tokens of each prompt, no two alike"),
        "max_tokens": Parameter(64, 1, 32_768, about="tokens of each answer"),
        "duration_s": duration_s(0.5, "until they leave"),
    },
    stacks=EVERYWHERE,
    silences=False,
)

CLIENT_KINDS = (
    _wrong("malformed_request", "requests that are none", MALFORMED),
    _wrong("oversized_request", "requests that are too large", OVERSIZED),
    _STORM,
)


CONTAINER_KINDS = (
    OutsideKind(
        name="cpu_squeeze",
        target=SERVER,
        contract=CONFORMING,
        effect="the server gets part of a processor",
        evidence="periods in which the kernel throttled it",
        consequence="tokens come more slowly",
        heals="when the limit is as it was before",
        parameters={
            "trigger_on": TRIGGER_ON,
            "duration_s": duration_s(10.0, "until it gets all again"),
            "cpus": Parameter(0.3, 0.01, 1000, about="processors that it gets"),
        },
        stacks=CONTAINERS,
        silences=False,
    ),
    OutsideKind(
        name="memory_squeeze",
        target=SERVER,
        contract=CONFORMING,
        effect="the server's memory is limited to what it has and room_mib more, and a neighbour takes that",
        evidence="the limit, and which of its processes are gone",
        consequence="the kernel ends its largest process; the server ends by itself, or says that it is sick",
        heals="when the limit is as it was before, and a further life of the server serves",
        parameters={
            "trigger_on": TRIGGER_ON,
            "duration_s": duration_s(20.0, "until it is restarted"),
            "room_mib": Parameter(64, 16, 65536, about="MiB that it may still take"),
        },
        stacks=CONTAINERS,
        lethal=True,
    ),
)


MS = "milliseconds"


def _network_kind(
    name: str,
    effect: str,
    evidence: str,
    consequence: str,
    heals: str,
    *,
    silences: bool = False,
    **parameters: Parameter,
) -> OutsideKind:
    return OutsideKind(
        name=name,
        target=NETWORK,
        contract=CONFORMING,
        effect=effect,
        evidence=evidence,
        consequence=consequence,
        heals=heals,
        parameters={"trigger_on": TRIGGER_ON, **parameters},
        stacks=EVERYWHERE,
        silences=silences,
    )


NETWORK_KINDS = (
    _network_kind(
        "network_cut",
        "every connection is reset, and each new one as it comes",
        "connections reset, requests that were on their way over them, connections refused",
        "these requests fail, no other does, and the server gives them up",
        "new connections pass",
        silences=True,
        duration_s=duration_s(1.0, "until connections can be made again"),
    ),
    _network_kind(
        "network_stall",
        "no byte passes; none is lost",
        "bytes that wait, and whose",
        "no token comes meanwhile, and the requests go on afterwards",
        "what has waited passes",
        silences=True,
        duration_s=duration_s(2.0, "until bytes pass again"),
    ),
    _network_kind(
        "network_latency",
        "every byte arrives later",
        "bytes that came later, by how much, whose",
        "the first token of every request comes later by both ways",
        "bytes pass at once",
        duration_s=duration_s(60.0, "of it"),
        up_ms=Parameter(50, 0, 10_000, about=f"{MS} from the client to the server"),
        down_ms=Parameter(50, 0, 10_000, about=f"{MS} from the server to the client"),
        jitter_ms=Parameter(0, 0, 10_000, about=f"at most so many {MS} more, by lot"),
    ),
    _network_kind(
        "network_loss",
        "some runs of bytes are lost and sent again, and all behind them waits, as TCP has it",
        "bytes that came later, by how much, whose",
        "a request that lost bytes gets no token for as long",
        "nothing is lost any more",
        duration_s=duration_s(60.0, "of it"),
        share=Parameter(0.02, 0.0, 1.0, about="of the runs of bytes, also of those sent again"),
        again_ms=Parameter(200, 1, 10_000, about=f"{MS} until they are sent again; doubled each time"),
    ),
    _network_kind(
        "slow_reader",
        "the answers to the next requests are read slowly, by a connection that takes little at a time",
        "bytes that lay unread at the client, for how long",
        "these answers take that time; the server holds them back, and no other answer with them",
        "the rest is read at once",
        duration_s=duration_s(60.0, "until the rest is read at once"),
        requests=Parameter(1, 1, 10_000, about="how many requests"),
        bytes_per_s=Parameter(4000, 1, 100_000_000, about="bytes a second"),
    ),
)


PROMETHEUS_KINDS = (
    OutsideKind(
        name="prometheus_kill",
        target=PROMETHEUS,
        contract=CONFORMING,
        effect="SIGKILL to Prometheus",
        evidence="it does not run any more",
        consequence="it saw nothing meanwhile; the server and the suite do not notice",
        heals="when it runs again, on the data that it has",
        parameters={"trigger_on": TRIGGER_ON, "duration_s": duration_s(4.0, "until it is started again")},
        stacks=CONTAINERS,
        silences=False,
    ),
)


def _ending(
    name: str, effect: str, evidence: str, consequence: str, down_s: float = 0.0, **more: Parameter
) -> OutsideKind:
    """A kind that a life of the server ends of."""
    return OutsideKind(
        name=name,
        target=SERVER,
        contract=CONFORMING,
        effect=effect,
        evidence=evidence,
        consequence=consequence,
        heals="when a further life of the server serves",
        parameters={
            "trigger_on": TRIGGER_ON,
            "duration_s": duration_s(down_s, "until it is restarted"),
            **more,
        },
        stacks=EVERYWHERE,
        lethal=True,
    )


_SERVER_KINDS = (
    OutsideKind(
        name="pause",
        target=SERVER,
        contract=CONFORMING,
        effect="all processes of the server stand still",
        evidence="processes, all in state T; of a container its state",
        consequence="no scrape is answered and no token comes while they stand still",
        heals="when they go on: their states say so",
        parameters={"trigger_on": TRIGGER_ON, "duration_s": duration_s(3.0, "until they go on")},
        stacks=EVERYWHERE,
    ),
    _ending(
        "kill",
        effect="SIGKILL to all processes of the server",
        evidence="processes, all gone; the exit code of their leader",
        consequence="that life of the server has ended, with that code; requests on their way end with it",
    ),
    _ending(
        "stop",
        effect="SIGTERM to the server, and after grace_s SIGKILL to what is left; with duration_s 0 it is a "
        "restart",
        evidence="processes, all gone; the exit code of their leader; whether they had to be forced",
        consequence="that life of the server has ended by itself; requests on their way may end with it",
        grace_s=Parameter(30.0, 0, 600, about="seconds from SIGTERM to SIGKILL"),
    ),
    _ending(
        "engine_kill",
        effect="SIGKILL to the process of the engine alone",
        evidence="process of the engine, gone",
        consequence="requests fail; the server ends by itself, or its /health says that it is sick",
        down_s=20.0,
    ),
)

KINDS: dict[str, OutsideKind] = {
    kind.name: kind
    for kind in (*_SERVER_KINDS, *CONTAINER_KINDS, *NETWORK_KINDS, *CLIENT_KINDS, *PROMETHEUS_KINDS)
}
