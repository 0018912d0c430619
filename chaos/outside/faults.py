"""The table of faults from outside: what each does, to whom, on which stacks, and how it shows."""

from __future__ import annotations

from chaos.inside.kind import LEGAL
from chaos.outside.clients.kinds import CLIENT_KINDS
from chaos.outside.kind import BY, LOCAL, SERVER, OutsideKind, for_s
from chaos.outside.network.kinds import NETWORK_KINDS

_SERVER_KINDS = (
    OutsideKind(
        name="pause",
        target=SERVER,
        contract=LEGAL,
        effect="all processes of the server stand still",
        evidence="processes, all in state T",
        consequence="no scrape is answered and no token comes while they stand still",
        heals="when they go on: their states say so",
        parameters={"by": BY, "for_s": for_s(3.0, "until they go on")},
        stacks=(LOCAL,),
    ),
)

KINDS: dict[str, OutsideKind] = {kind.name: kind for kind in (*_SERVER_KINDS, *NETWORK_KINDS, *CLIENT_KINDS)}
