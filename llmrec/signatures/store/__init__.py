"""Signatures on disk: sharded, columnar, float16, appended to and taken up again."""

from llmrec.signatures.store.store import ShardInfo, SignatureStore

__all__ = ["ShardInfo", "SignatureStore"]
