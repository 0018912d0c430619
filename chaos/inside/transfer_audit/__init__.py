"""The transfer audit: every transfer must end exactly once, and a block must keep its content.

It only observes. A violation that no injected fault explains is a bug of the server.
"""
