"""LOS-Net: a small Transformer that reads output signatures (arXiv 2503.14043 v3)."""

from llmrec.signatures.los_net.config import LOSNetConfig
from llmrec.signatures.los_net.model import LOSNet

__all__ = ["LOSNet", "LOSNetConfig"]
