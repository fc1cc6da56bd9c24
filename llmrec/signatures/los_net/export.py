"""LOS-Net as an ONNX file, with any number of windows and positions, and a scorer that runs it.

The file holds the networks; columns become features in NumPy before it and windows are pooled after
it, by the same code as in training. Beside the file lies a JSON file with the settings, so that the
scorer needs no torch model. Needs the extra ``onnx``.
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from llmrec.errors import ArtifactError, ConfigError
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.los_net.batches import Inputs, SignatureBatches, WindowBatch
from llmrec.signatures.los_net.columns import columns_of
from llmrec.signatures.los_net.config import LOSNetConfig
from llmrec.signatures.los_net.model import LOSNet
from llmrec.signatures.los_net.network import LOSNetwork, pool
from llmrec.signatures.los_net.origins import OnMismatch, Origin, check_origins, origins_of
from llmrec.signatures.los_net.scoring import blocks
from llmrec.storage import atomic_file, file_sha256, read_json, write_json

_OPSET = 18
_NAMES = ("values", "actual", "rank", "rank_scaled", "channels", "seen")
_WINDOWS_AT_ONCE = 64


class _Windows(nn.Module):
    """Logits of windows in a grid, averaged over networks: what the file computes."""

    def __init__(self, networks: Sequence[LOSNetwork], shift: float) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.shift = shift

    def forward(
        self,
        values: Tensor,
        actual: Tensor,
        rank: Tensor,
        rank_scaled: Tensor,
        channels: Tensor,
        seen: Tensor,
    ) -> Tensor:
        """``[W, N, ...]`` features and ``[W, N]`` which are real to ``[W, networks]`` logits."""
        inputs = Inputs(values, actual, rank, rank_scaled, channels)
        logits = []
        for network in self.networks:
            assert isinstance(network, LOSNetwork)
            vectors = network.embed(inputs)
            if network.config.pad_attention == "official":
                vectors = torch.where(seen.unsqueeze(-1), vectors, network.padding())
                logits.append(network.read(vectors, torch.ones_like(seen)))
            else:
                logits.append(network.read(vectors, seen))
        return torch.stack(logits, dim=1) - self.shift


def export_onnx(model: LOSNet, path: str | Path, *, int8: bool = False) -> Path:
    """Write a fitted model as ONNX, and its settings to ``path`` with ``.json`` added.

    Args:
        model: The model.
        path: The file, ``*.onnx``.
        int8: Quantise the weights of matrix products to 8 bits; scores change a little.

    Raises:
        ConfigError: The extra is not installed, or the model is not fitted.
    """
    path = Path(path)
    _require_onnx()
    module = _Windows(model.networks, model.shift).eval()
    with atomic_file(path) as temporary:
        _trace(module, model.config, temporary)
        if int8:
            _quantise(temporary)
    settings = {
        "format": 1,
        "config": model.config.model_dump(mode="json"),
        "origins": [origin.to_json() for origin in model.origins],
        "sha256": file_sha256(path),
    }
    write_json(path.with_name(path.name + ".json"), settings)
    return path


class OnnxLOSNet:
    """A scorer that runs an exported file with onnxruntime.

    Args:
        path: The file that :func:`export_onnx` wrote, its settings beside it.
        threads: Threads inside an operator.

    Raises:
        ArtifactError: A file is missing, or the settings are those of another file.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        _require_onnx()
        import onnxruntime

        path = Path(path)
        settings = read_json(path.with_name(path.name + ".json"))
        if not path.is_file() or file_sha256(path) != settings.get("sha256"):
            raise ArtifactError(f"{path} is missing or not the file that its settings describe.")
        self.config = LOSNetConfig.model_validate(settings["config"])
        self.origins = tuple(Origin.from_json(values) for values in settings["origins"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._wanted = [node.name for node in self._session.get_inputs()]

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """The same as calling the class."""
        return cls(path)

    def predict_risk(
        self, records: Sequence[SignatureRecord], *, on_mismatch: OnMismatch = "error"
    ) -> npt.NDArray[np.float32]:
        """Probability of risk: ``[n]`` float32.

        Raises:
            DataError: Records are unlike those of training.
        """
        given = origins_of(records, self.config.fingerprint_policy)
        check_origins(self.origins, given, on_mismatch)
        source = SignatureBatches(columns_of(records, self.config.k), self.config)
        order = np.argsort(source.lengths, kind="stable")
        found = np.empty(len(source), dtype=np.float32)
        most = _WINDOWS_AT_ONCE * self.config.window
        for rows in blocks(source.lengths[order], most):
            chosen = order[rows]
            batch = source.fixed(chosen)
            logits = torch.from_numpy(self._run(batch))
            each = [pool(one, batch.owner, batch.n, self.config.task) for one in logits.T]
            found[chosen] = torch.stack(each).mean(0).sigmoid().numpy()
        return found

    def _run(self, batch: WindowBatch) -> npt.NDArray[np.float32]:
        grids = _grids(batch)
        fed = {name: grids[name].numpy() for name in self._wanted}
        logits: npt.NDArray[np.float32] = self._session.run(None, fed)[0]
        return logits


def _grids(batch: WindowBatch) -> dict[str, Tensor]:
    """The inputs of the file: flat features in a grid, zeros where there is no position."""
    shape = batch.seen.shape
    if batch.fills_grid:
        whole = {n: flat.view(*shape, *flat.shape[1:]) for n, flat in vars(batch.inputs).items()}
        return {**whole, "seen": torch.ones(shape, dtype=torch.bool)}
    grids: dict[str, Tensor] = {}
    for name, flat in vars(batch.inputs).items():
        grid = flat.new_zeros(batch.seen.numel(), *flat.shape[1:])
        grid = grid.index_copy(0, batch.cells, flat.index_select(0, batch.source))
        grids[name] = grid.view(*shape, *flat.shape[1:])
    real = torch.zeros(batch.seen.numel(), dtype=torch.bool)
    real[batch.cells] = True
    return {**grids, "seen": real.view(shape)}


def _trace(module: _Windows, config: LOSNetConfig, path: Path) -> None:
    batch = _example(config)
    grids = _grids(batch)
    # official padding attends to a whole window, so the number of positions is fixed there
    dynamic = (0,) if config.pad_attention == "official" else (0, 1)
    axes = {name: dict(zip(dynamic, ("windows", "positions"), strict=False)) for name in _NAMES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own notes on tracing
        torch.onnx.export(
            module,
            tuple(grids[name] for name in _NAMES),
            str(path),
            input_names=list(_NAMES),
            output_names=["logits"],
            dynamic_axes={**axes, "logits": {0: "windows"}},
            opset_version=_OPSET,
            dynamo=False,
        )


def _example(config: LOSNetConfig) -> WindowBatch:
    """Two windows of unlike length to trace with."""
    n, k = 5, config.k
    record: dict[str, Any] = {
        "topk_logprobs": np.full((n, k), -1.0, dtype=np.float32),
        "topk_valid": np.ones((n, k), dtype=np.bool_),
        "actual_logprob": np.full(n, -1.0, dtype=np.float32),
        "actual_rank": np.zeros(n, dtype=np.int32),
        "rank_censored": np.zeros(n, dtype=np.bool_),
        "tail_logmass": np.full(n, -1.0, dtype=np.float32),
        "row_mean": np.full(n, -5.0, dtype=np.float32),
        "row_std": np.ones(n, dtype=np.float32),
    }
    whole = SignatureRecord(**record, vocab_size=100, mode="unknown", kind="output", has_eos=False)
    source = SignatureBatches(columns_of([whole, whole], k), config)
    return source.fixed(np.arange(2), np.minimum(np.array([5, 3]), config.window))


def _quantise(path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises a step for image models on every call
    try:
        quantize_dynamic(str(path), str(path), weight_type=QuantType.QInt8)
    finally:
        root.setLevel(level)


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError:
        raise ConfigError(
            "ONNX export needs the extra onnx; install it with pip install 'llmrec[onnx]'."
        ) from None
