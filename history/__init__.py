"""The history of a run: plan, records and verdict as types, with their writers and readers.

The other packages exchange data through it. It imports none of them.
"""
