"""The table of faults of the Prometheus that watches a run."""

from __future__ import annotations

from chaos.inside.fault_kind import LEGAL
from chaos.outside.outside_kind import BY, CONTAINERS, PROMETHEUS, OutsideKind, for_s

PROMETHEUS_KINDS = (
    OutsideKind(
        name="prometheus_kill",
        target=PROMETHEUS,
        contract=LEGAL,
        effect="SIGKILL to Prometheus",
        evidence="it does not run any more",
        consequence="it saw nothing meanwhile; the server and the suite do not notice",
        heals="when it runs again, on the data that it has",
        parameters={"by": BY, "for_s": for_s(4.0, "until it is started again")},
        stacks=CONTAINERS,
        silences=False,
    ),
)
