"""Parameters and texts that several kinds of fault share."""

from __future__ import annotations

from chaos.inside.fault_kind import Parameter

DRY_RUN = Parameter(False, about="decide and journal, but change nothing")
DIRECTION = Parameter("load", choices=("load", "store", "both"), about="which copies")

ENGINE_DIES = "nobody catches it: the engine dies"
NEVER = "never: the engine is gone"
