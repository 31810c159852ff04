"""The version, for everything that has to say it."""

__all__ = ["__version__"]

__version__ = "0.1.0"
"""This package's version."""
