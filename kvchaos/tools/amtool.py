"""amtool, which checks the configuration and the routes of Alertmanager. Only tests start it.

Debian's Alertmanager does not start where its package is only unpacked: it needs a file at an absolute path.
"""

from __future__ import annotations

from kvchaos.tools.tool import Tool

AMTOOL = Tool(
    name="amtool",
    title="amtool",
    variable="KVCHAOS_AMTOOL",
    path_names=("amtool",),
    package="prometheus-alertmanager",
    programs=(("amtool", "usr/bin/amtool"),),
    trial=("--version",),
)
