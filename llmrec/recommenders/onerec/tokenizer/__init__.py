"""Semantic IDs: from item vectors to a few codes per item.

Only the settings are imported here; fitting and the saved form need torch, so import them from
``fitting`` and ``semantic_ids``.
"""

from llmrec.recommenders.onerec.tokenizer.config import RqVaeConfig, TokenizerConfig

__all__ = ["RqVaeConfig", "TokenizerConfig"]
