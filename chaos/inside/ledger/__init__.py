"""The module's own books on the server: what began must end once, and a block must stay what it is.

Nothing here decides or changes anything. A rule that is broken, and not by a fault of ours, is a bug of
the server.
"""
