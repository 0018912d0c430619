"""What the chaos module, the conductor and the judges write for each other: the types, each defined once.

vLLM's interpreter loads this package too. It imports the standard library and msgspec, and nothing else.
"""
