"""Grafana's dashboards as code. `python -m dashboards.write` generates the JSON from it."""
