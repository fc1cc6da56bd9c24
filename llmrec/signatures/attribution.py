"""Which tokens make a text risky, for any scorer.

LOS-Net hides a position (:func:`~llmrec.signatures.los_net.attribution.occlusion`); from the record
of any other scorer the position is taken out, and the rest closes up.
"""

from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt

from llmrec.contracts import RiskScorer
from llmrec.inference.signature import SignatureRecord


def token_effects(scorer: RiskScorer, record: SignatureRecord) -> npt.NDArray[np.float32]:
    """Risk of a text minus its risk without each position: ``[N]`` float32.

    Args:
        scorer: A fitted scorer.
        record: The text's signature.

    Raises:
        DataError: The record is unlike those of training.
    """
    from llmrec.signatures.los_net import LOSNet
    from llmrec.signatures.los_net.attribution import occlusion

    if isinstance(scorer, LOSNet):
        return occlusion(scorer, record)
    places = np.arange(len(record))
    variants = [record, *(take_positions(record, places != place) for place in places)]
    risks = np.asarray(scorer.predict_risk(variants), dtype=np.float32)
    return np.asarray(risks[0] - risks[1:], dtype=np.float32)


def take_positions(record: SignatureRecord, kept: npt.NDArray[np.bool_]) -> SignatureRecord:
    """A record of some of the positions.

    Args:
        record: The record.
        kept: ``[N]`` which positions to keep.
    """
    changed: dict[str, object] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            changed[field.name] = value[kept]
    if record.tokens is not None:
        changed["tokens"] = tuple(np.array(record.tokens, dtype=object)[kept])
    text = None if record.tokens is None else "".join(changed["tokens"])  # type: ignore[arg-type]
    has_eos = record.has_eos and bool(kept.size and kept[-1])
    return replace(record, **changed, text=text, has_eos=has_eos)  # type: ignore[arg-type]
