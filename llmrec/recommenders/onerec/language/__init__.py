"""Semantic IDs in the vocabulary of a causal language model: the second backbone of OneRec."""

from llmrec.recommenders.onerec.language.model import OneRecLM

__all__ = ["OneRecLM"]
