"""Prometheus beside a run: a second, independent witness of the server's metrics.

It scrapes the server, and the suite's own metrics, once a second. When the load is over, what it saw of the
server is written into the run directory; the oracle `witnesses` holds that against the suite's own scrapes.
"""
