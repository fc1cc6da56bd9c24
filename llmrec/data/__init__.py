"""What happened: events, histories, catalogs, data sets and splits."""

from llmrec.data.catalog import Catalog
from llmrec.data.dataset import Dataset
from llmrec.data.histories import Histories, Origin
from llmrec.data.interactions import Interactions
from llmrec.data.splits import (
    Cases,
    LabelledCases,
    Split,
    given,
    global_time,
    leave_one_out,
    make_split,
    ratio,
)
from llmrec.data.vocabulary import Vocabulary

__all__ = [
    "Cases",
    "Catalog",
    "Dataset",
    "Histories",
    "Interactions",
    "LabelledCases",
    "Origin",
    "Split",
    "Vocabulary",
    "given",
    "global_time",
    "leave_one_out",
    "make_split",
    "ratio",
]
