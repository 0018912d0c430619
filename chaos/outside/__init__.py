"""Faults from outside the server: on its processes and containers, on the network before it, by its clients.

They follow the same schedules as the faults inside, and write the same journal.
"""
