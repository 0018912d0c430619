"""The history of a run: plan, records, latencies and verdict as types, with their writers and strict readers.

The other packages exchange data through it. It imports none of them.
"""
