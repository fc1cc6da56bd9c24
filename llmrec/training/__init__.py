"""One training loop, its settings, checkpoints and seeds.

Only the settings are imported here: the loop needs torch, so import it from
``llmrec.training.trainer``.
"""

from llmrec.training.config import TrainingConfig

__all__ = ["TrainingConfig"]
