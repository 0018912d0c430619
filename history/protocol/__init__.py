"""The types that chaos module, conductor and oracles exchange through files, each defined once.

vLLM's interpreter loads this package too. It imports the standard library and msgspec, and nothing else.
"""
