"""The compose stacks: server, Prometheus and Grafana in containers, and the cleanup of all of it.

`docker compose` makes and removes a run's project; whatever concerns one container goes through Docker's SDK.
"""
