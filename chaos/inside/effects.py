"""The declared effects of hostile faults: the findings, by rule, that a fault explains."""

from __future__ import annotations

from chaos.inside.fault_kind import Effect

DIES = Effect(rules=("server-alive/died",), scope="life", most=1)
"""The engine ends soon after the firing, and the server with it."""

DAMAGED = Effect(rules=("answers/not-golden", "answers/not-repeated"), scope="readers", most=1)
"""Some answer of those that read the block differs: from the golden one, else from another of its prompt."""

FLIPPED = tuple(
    Effect(
        rules=DAMAGED.rules,
        scope=DAMAGED.scope,
        most=DAMAGED.most,
        when={"word_bytes": (number_bytes,), "bit": tuple(range(mantissa))},
    )
    for number_bytes, mantissa in ((2, 7), (4, 23), (8, 52))
)
"""The same by a bit of the mantissa, of numbers of so many bytes. Those of 2 may be bfloat16."""

LOST_LOAD = (
    Effect(
        rules=("progress/deadlock", "progress/stall", "progress/deadline"), scope="wait", direction="load"
    ),
    Effect(
        rules=("outcomes/truncated-stream", "outcomes/request-failed"),
        scope="struck",
        least=0,
        most=1,
        direction="load",
    ),
    Effect(rules=("transfer-invariants/load-never-ended",), scope="rest", most=1, direction="load"),
    Effect(rules=("drained/blocks-leaked",), scope="rest", most=1, direction="load"),
)
"""The request waits until its client aborts it, and its blocks are never freed."""
