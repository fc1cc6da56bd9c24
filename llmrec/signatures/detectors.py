"""Saved detectors of any kind, told apart by the file that describes them."""

from pathlib import Path

from llmrec.errors import ArtifactError
from llmrec.signatures.baselines import load_baseline
from llmrec.signatures.baselines.base import MANIFEST as BASELINE
from llmrec.signatures.baselines.base import Baseline
from llmrec.signatures.los_net import LOSNet
from llmrec.signatures.los_net.adaptation import MANIFEST as ADAPTED
from llmrec.signatures.los_net.adaptation import AdaptedLOSNet
from llmrec.signatures.los_net.artifacts import MANIFEST as LOS_NET


def load_detector(directory: str | Path) -> LOSNet | AdaptedLOSNet | Baseline:
    """Read a LOS-Net, an adapted one or a baseline from what its ``save_pretrained`` wrote.

    Raises:
        ArtifactError: The directory is missing, incomplete, changed, or of another kind.
    """
    folder = Path(directory)
    if (folder / LOS_NET).is_file():
        return LOSNet.from_pretrained(folder)
    if (folder / ADAPTED).is_file():
        return AdaptedLOSNet.from_pretrained(folder)
    if (folder / BASELINE).is_file():
        return load_baseline(folder)
    raise ArtifactError(
        f"{folder} holds no detector: it has none of {LOS_NET}, {ADAPTED} and {BASELINE}; train "
        "one first."
    )
