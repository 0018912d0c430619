"""Conducts one run: server up, load phases, faults armed and healed, death and stalls noticed, drain, end."""
