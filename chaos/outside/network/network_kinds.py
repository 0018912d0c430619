"""The table of faults of the network before a server, through which the load goes."""

from __future__ import annotations

from chaos.inside.fault_kind import LEGAL, Parameter
from chaos.outside.outside_kind import BY, EVERYWHERE, NETWORK, OutsideKind, for_s

MS = "milliseconds"


def _kind(
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
        contract=LEGAL,
        effect=effect,
        evidence=evidence,
        consequence=consequence,
        heals=heals,
        parameters={"by": BY, **parameters},
        stacks=EVERYWHERE,
        silences=silences,
    )


NETWORK_KINDS = (
    _kind(
        "network_cut",
        "every connection is reset, and each new one as it comes",
        "connections reset, requests that were on their way over them, connections refused",
        "these requests fail, no other does, and the server gives them up",
        "new connections pass",
        silences=True,
        for_s=for_s(1.0, "until connections can be made again"),
    ),
    _kind(
        "network_stall",
        "no byte passes; none is lost",
        "bytes that wait, and whose",
        "no token comes meanwhile, and the requests go on afterwards",
        "what has waited passes",
        silences=True,
        for_s=for_s(2.0, "until bytes pass again"),
    ),
    _kind(
        "network_latency",
        "every byte arrives later",
        "bytes that came later, by how much, whose",
        "the first token of every request comes later by both ways",
        "bytes pass at once",
        for_s=for_s(60.0, "of it"),
        up_ms=Parameter(50, 0, 10_000, about=f"{MS} from the client to the server"),
        down_ms=Parameter(50, 0, 10_000, about=f"{MS} from the server to the client"),
        jitter_ms=Parameter(0, 0, 10_000, about=f"at most so many {MS} more, by lot"),
    ),
    _kind(
        "network_loss",
        "some runs of bytes are lost and sent again, and all behind them waits, as TCP has it",
        "bytes that came later, by how much, whose",
        "a request that lost bytes gets no token for as long",
        "nothing is lost any more",
        for_s=for_s(60.0, "of it"),
        share=Parameter(0.02, 0.0, 1.0, about="of the runs of bytes, also of those sent again"),
        again_ms=Parameter(200, 1, 10_000, about=f"{MS} until they are sent again; doubled each time"),
    ),
    _kind(
        "slow_reader",
        "the answers to the next requests are read slowly, by a connection that takes little at a time",
        "bytes that lay unread at the client, for how long",
        "these answers take that time; the server holds them back, and no other answer with them",
        "the rest is read at once",
        for_s=for_s(60.0, "until the rest is read at once"),
        requests=Parameter(1, 1, 10_000, about="how many requests"),
        bytes_per_s=Parameter(4000, 1, 100_000_000, about="bytes a second"),
    ),
)
