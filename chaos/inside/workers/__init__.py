"""The copies behind the transfer interceptor, one module for each shape of a worker.

Each offers `WrappedSpec`, the host copy spec with its worker or handlers wrapped. What else a release asks
of them goes to the inner ones.
"""
