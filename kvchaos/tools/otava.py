"""Apache Otava, which finds change points in a series of measurements.

It runs in an environment of its own: it pins numpy to a version that this suite cannot use.
"""

from __future__ import annotations

from kvchaos.tools.tool import Tool

OTAVA = Tool(
    name="otava",
    title="Apache Otava",
    variable="KVCHAOS_OTAVA",
    path_names=("otava",),
    package="",
    programs=(("otava", "bin/otava"),),
    trial=("--help",),
    requirement="apache-otava==0.8.0",
)
