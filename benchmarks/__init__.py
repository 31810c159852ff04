"""Benchmarks of topone-proto, no part of the package. ``python -m benchmarks`` runs them."""
