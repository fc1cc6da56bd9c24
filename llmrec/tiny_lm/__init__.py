"""Embedded language models: tiny, made here from a data set's own texts and training events."""
