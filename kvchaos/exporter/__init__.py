"""The suite's own metrics while a run goes on: Prometheus scrapes them.

They are computed from the events of the run, its fault journals and the reports of its load workers; no
oracle judges by them.
"""
