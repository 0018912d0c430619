"""The table of faults that only a server in a container can be struck by."""

from __future__ import annotations

from chaos.inside.fault_kind import LEGAL, Parameter
from chaos.outside.outside_kind import BY, CONTAINERS, SERVER, OutsideKind, for_s

CONTAINER_KINDS = (
    OutsideKind(
        name="cpu_squeeze",
        target=SERVER,
        contract=LEGAL,
        effect="the server gets part of a processor",
        evidence="periods in which the kernel held it back",
        consequence="tokens come more slowly",
        heals="when the limit is as it was before",
        parameters={
            "by": BY,
            "for_s": for_s(10.0, "until it gets all again"),
            "cpus": Parameter(0.3, 0.01, 1000, about="processors that it gets"),
        },
        stacks=CONTAINERS,
        silences=False,
    ),
    OutsideKind(
        name="memory_squeeze",
        target=SERVER,
        contract=LEGAL,
        effect="the server's memory is limited to what it has and room_mib more, and a neighbour takes that",
        evidence="the limit, and which of its processes are gone",
        consequence="the kernel ends its largest process; the server ends by itself, or says that it is sick",
        heals="when the limit is as it was before, and a further life of the server serves",
        parameters={
            "by": BY,
            "for_s": for_s(20.0, "until it is started anew"),
            "room_mib": Parameter(64, 16, 65536, about="MiB that it may still take"),
        },
        stacks=CONTAINERS,
        lethal=True,
    ),
)
