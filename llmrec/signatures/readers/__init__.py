"""Signatures from files: logged responses, tables of token probabilities, stores.

Lines that cannot be read are named by file and line, and the good ones are kept.
"""

from llmrec.signatures.readers.lines import BadLine, ReadSignatures
from llmrec.signatures.readers.named import FORMATS, read_signatures
from llmrec.signatures.readers.openai_log import LogOptions, read_openai_line, read_openai_log
from llmrec.signatures.readers.token_tables import read_token_table

__all__ = [
    "FORMATS",
    "BadLine",
    "LogOptions",
    "ReadSignatures",
    "read_openai_line",
    "read_openai_log",
    "read_signatures",
    "read_token_table",
]
