"""Time LOS-Net: answers scored per second on one core, and one more token of a stream.

Usage: ``python eval/benchmarks/los_net.py``, alone on the machine. Answers have 100 positions of
K = 100 values, the network is the default one (width 128, one layer); weights are random, which
costs the same as trained ones. Records are scored from memory to risks, making features included.
``int8`` runs the quantised ONNX file. Seconds are those of the clock on the wall with one thread;
the details hold the processor's own seconds beside them, which are fewer where others interrupted.

The operations needed per position are the projection of K values to half the width, the extra
channels, and the scores and the mixing of every head; the rest happens once per answer. The share
is those operations at the rate of a large matrix product over our time.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import record
import torch

from llmrec.evaluation.metrics.pairs import auc
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.los_net import LOSNet
from llmrec.signatures.los_net.export import OnnxLOSNet, export_onnx
from llmrec.signatures.los_net.features import CHANNELS
from llmrec.signatures.los_net.streaming import RiskStream, split_positions
from llmrec.testing.signatures import labelled_signatures

_ANSWERS, _POSITIONS, _K, _REPEATS = 1000, 100, 100, 5


@dataclass(frozen=True)
class Measured:
    """Seconds of every repeat.

    Attributes:
        wall: By the clock on the wall.
        processor: Of this process.
    """

    wall: list[float]
    processor: list[float]

    def details(self, per_second_of: int) -> dict[str, object]:
        """All repeats, and how many of some items a second that is."""
        found = {"wall_seconds": self.wall, "processor_seconds": self.processor}
        return {**found, "per_second": per_second_of / float(np.median(self.wall))}


def needed_flops(answers: int, positions: int, k: int, width: int, heads: int) -> float:
    """Operations of scoring with one layer, read at its first state.

    >>> needed_flops(1, 1, 100, 128, 8) == 2 * (100 * 64 + 12 * 128 + 2 * 8 * 128 + 7 * 128**2)
    True
    """
    position = k * width // 2 + len(CHANNELS) * width + 2 * heads * width
    once = 7 * width * width  # query twice, value, output, and three more of the same size
    return 2.0 * answers * (positions * position + once)


def measure() -> list[Path]:
    """Measure and write ``los_net_scoring``, ``los_net_scoring_int8`` and ``los_net_stream``."""
    torch.set_num_threads(1)
    records, labels = _answers()
    training = {"epochs": 3, "learning_rate": 1e-3}
    model = LOSNet(k=_K, training=training).fit(records[:500], labels[:500])
    rate = _matmul_rate()
    needed = needed_flops(_ANSWERS, _POSITIONS, _K, model.config.hidden, model.config.heads)
    setting = {"answers": _ANSWERS, "positions": _POSITIONS, "k": _K, "threads": 1}
    exact = auc(labels, model.predict_risk(records))
    with tempfile.TemporaryDirectory() as folder:
        scorer = OnnxLOSNet(export_onnx(model, Path(folder) / "model.onnx", int8=True))
        lost = exact - auc(labels, scorer.predict_risk(records))
        whole = _seconds(lambda: model.predict_risk(records))
        quantised = _seconds(lambda: scorer.predict_risk(records))
    stream = _stream_seconds(model, records[0])
    share = needed / rate / float(np.median(whole.wall))
    work = {"needed_flops": needed, "matmul_flops": rate}
    return [
        record.write_benchmark(
            "los_net_scoring", {**setting, "precision": "float32"}, whole.wall,
            ceiling_share=share, details={**work, **whole.details(_ANSWERS)},
        ),
        record.write_benchmark(
            "los_net_scoring_int8", {**setting, "precision": "int8 (onnxruntime)"}, quantised.wall,
            details={"auc_lost": lost, **quantised.details(_ANSWERS)},
        ),
        record.write_benchmark(
            "los_net_stream", {**setting, "answers": 1}, stream.wall, details=stream.details(1)
        ),
    ]  # fmt: skip


def _answers() -> tuple[list[SignatureRecord], np.ndarray]:
    lengths = (_POSITIONS, _POSITIONS)
    return labelled_signatures(_ANSWERS, seed=0, k=_K, lengths=lengths, width=2 * _K)


def _matmul_rate() -> float:
    """Operations per second of a large float32 product on one thread."""
    left, right = torch.rand(1024, 1024), torch.rand(1024, 1024)
    return 2 * 1024**3 / min(_seconds(lambda: left @ right).wall)


def _seconds(job: Callable[[], object]) -> Measured:
    job()
    found = Measured([], [])
    for _ in range(_REPEATS):
        wall, processor = time.perf_counter(), time.process_time()
        job()
        found.wall.append(time.perf_counter() - wall)
        found.processor.append(time.process_time() - processor)
    return found


def _stream_seconds(model: LOSNet, answer: SignatureRecord) -> Measured:
    """Seconds per token, one number per pass over the answer."""
    positions = split_positions(answer)

    def passes() -> None:
        stream = RiskStream(model)
        for position in positions:
            stream.push(position)

    whole = _seconds(passes)
    n = len(positions)
    return Measured([each / n for each in whole.wall], [each / n for each in whole.processor])


if __name__ == "__main__":
    for path in measure():
        print(path)
