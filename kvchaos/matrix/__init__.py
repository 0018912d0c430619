"""The matrix: every scenario of the local stack on every release that can be installed."""
