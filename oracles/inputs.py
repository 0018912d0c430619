"""What of a history oracles and rules read, by name."""

from __future__ import annotations

REQUESTS = "requests"
METRICS = "metrics"
PROMETHEUS = "what Prometheus saw"
EVENTS = "events"
FAULTS = "fault journal"
LEDGER = "ledger"
PROVENANCE = "provenance log"
LOG = "server's log"
CLIENT = "client"
RESOURCES = "resources"
