"""The conductor: it brings servers up, drives load and faults against them, and reports the verdict."""

__version__ = "0.1.0"
