"""Conducting one run: server up, phases of load, faults armed and healed, drain, server down."""
