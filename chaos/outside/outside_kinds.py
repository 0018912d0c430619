"""The table of faults from outside: what each does, to whom, on which stacks, and how it shows."""

from __future__ import annotations

from chaos.inside.fault_kind import LEGAL, Parameter
from chaos.outside.clients.client_kinds import CLIENT_KINDS
from chaos.outside.containers.container_kinds import CONTAINER_KINDS
from chaos.outside.network.network_kinds import NETWORK_KINDS
from chaos.outside.outside_kind import BY, EVERYWHERE, SERVER, OutsideKind, for_s
from chaos.outside.prometheus.prometheus_kinds import PROMETHEUS_KINDS


def _ending(
    name: str, effect: str, evidence: str, consequence: str, down_s: float = 0.0, **more: Parameter
) -> OutsideKind:
    """A kind that a life of the server ends of."""
    return OutsideKind(
        name=name,
        target=SERVER,
        contract=LEGAL,
        effect=effect,
        evidence=evidence,
        consequence=consequence,
        heals="when a further life of the server serves",
        parameters={"by": BY, "for_s": for_s(down_s, "until it is started anew"), **more},
        stacks=EVERYWHERE,
        lethal=True,
    )


_SERVER_KINDS = (
    OutsideKind(
        name="pause",
        target=SERVER,
        contract=LEGAL,
        effect="all processes of the server stand still",
        evidence="processes, all in state T; of a container its state",
        consequence="no scrape is answered and no token comes while they stand still",
        heals="when they go on: their states say so",
        parameters={"by": BY, "for_s": for_s(3.0, "until they go on")},
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
        effect="SIGTERM to the server, and after grace_s SIGKILL to what is left; with for_s 0 a restart",
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
