"""Names of the files in a run directory."""

from __future__ import annotations

PLAN = "run.yaml"
EVENTS = "events.jsonl"
METRICS = "metrics.jsonl"
PROMETHEUS = "prometheus.jsonl"
"""What Prometheus saw of the server, in the form of `METRICS`."""
PROMETHEUS_FOLDER = "prometheus"
"""Its configuration; where it is a process of ours, its data, too."""
PROMETHEUS_LOG = "prometheus.log"
SERVER_LOG = "server.log"
LOADER_LOG = "loader.log"
CLIENT = "client.jsonl"
RESOURCES = "resources.jsonl"
NETWORK = "network.jsonl"
NETWORK_LOG = "network.log"
CONTROL = "control"
"""Folder shared with the server: the armed schedule, the fault journals and the ledgers."""
REQUESTS_GLOB = "requests-*.jsonl"
JOURNALS, LEDGERS, PROVENANCE = "faults-*.jsonl", "ledger-*.jsonl", "provenance-*.jsonl"
"""What the chaos module writes into the control directory."""
FAULTS_GLOB = f"{CONTROL}/{JOURNALS}"
LEDGER_GLOB = f"{CONTROL}/{LEDGERS}"
PROVENANCE_GLOB = f"{CONTROL}/{PROVENANCE}"
SEALS = "seals.json"
"""The digest of each file that judging reads."""
VERDICT = "verdict.json"
JUNIT = "junit.xml"
SUMMARY = "summary.md"
REPORT = "report.html"


def requests_file(worker: int | str) -> str:
    """Name of the request file of a load worker (a number), of the conductor's own requests ("probe"), or of
    clients that a fault sent ("crowd")."""
    return f"requests-{worker}.jsonl"
