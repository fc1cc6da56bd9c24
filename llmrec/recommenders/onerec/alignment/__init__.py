"""Preference alignment of a generator: losses, pairs, reward models, iterations."""
