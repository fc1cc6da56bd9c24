"""Readers: from the files people have to data sets."""

from llmrec.data.readers.amazon2014 import read_amazon2014
from llmrec.data.readers.huggingface import from_datasets, to_datasets
from llmrec.data.readers.movielens import read_movielens
from llmrec.data.readers.recbole import read_recbole
from llmrec.data.readers.tables import (
    read_catalog,
    read_interactions,
    read_sequences,
    read_users,
)
from llmrec.data.readers.uniform import read_uniform_folder, write_uniform_folder

__all__ = [
    "from_datasets",
    "read_amazon2014",
    "read_catalog",
    "read_interactions",
    "read_movielens",
    "read_recbole",
    "read_sequences",
    "read_uniform_folder",
    "read_users",
    "to_datasets",
    "write_uniform_folder",
]
