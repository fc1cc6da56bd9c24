"""An RQ-VAE: an autoencoder whose latent vector is quantised in residual steps.

Loss per item: ``|x - decode(q)|^2 + sum_l |sg[r_l] - e_l|^2 + b |r_l - sg[e_l]|^2`` with the
residuals ``r_l`` of the latent, the chosen code vectors ``e_l``, ``q = sum_l e_l`` and stopped
gradients ``sg`` (Lee et al. 2022, section 3.2; TIGER, section 3.1). Codebooks start from a residual
k-means on the untrained latents; after every epoch a code that no item chose is moved to an item
whose residual is poorly met.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from llmrec.recommenders.onerec.tokenizer.codebooks import Codebooks, FloatArray
from llmrec.recommenders.onerec.tokenizer.config import TokenizerConfig
from llmrec.recommenders.onerec.tokenizer.kmeans import nearest_codes, residual_kmeans
from llmrec.training.trainer import Trainer

_START_ROUNDS = 10


@dataclass(frozen=True)
class VectorBatch:
    """Vectors ``[n, d]`` to be reconstructed."""

    values: Tensor

    @property
    def n_targets(self) -> int:
        """Number of vectors."""
        return len(self.values)

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        return type(self)(self.values.to(device))


class VectorSource:
    """All vectors as training rows."""

    def __init__(self, values: Tensor) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def batch(self, rows: npt.NDArray[np.int64], generator: np.random.Generator) -> VectorBatch:
        """The vectors of some rows."""
        return VectorBatch(self._values[torch.from_numpy(rows)])


class RqVae(nn.Module):
    """The network and its codebooks.

    Args:
        values: ``[n, d]`` the vectors that it is trained on.
        config: Settings of the tokeniser.
    """

    scratch_state = frozenset({"chosen"})
    chosen: Tensor
    codebooks: Tensor

    def __init__(self, values: Tensor, config: TokenizerConfig) -> None:
        super().__init__()
        settings = config.rqvae
        widths = (values.shape[1], *settings.hidden, settings.latent)
        self._values, self._config = values, config
        self.encoder = _chain(widths)
        self.decoder = _chain(widths[::-1])
        shape = (config.levels, config.codes, settings.latent)
        self.codebooks = nn.Parameter(torch.zeros(shape))
        self.register_buffer("chosen", torch.zeros(shape[:2], dtype=torch.int64))

    def forward(self, batch: VectorBatch) -> Tensor:
        """Summed loss of a batch."""
        latent = self.encoder(batch.values)
        residual, quantised, loss = latent, torch.zeros_like(latent), latent.new_zeros(())
        for level, table in enumerate(self.codebooks):
            codes = nearest_codes(residual.detach(), table.detach())
            self.chosen[level] += torch.bincount(codes, minlength=len(table))
            vectors = table[codes]
            loss = loss + ((residual.detach() - vectors) ** 2).sum()
            pull = ((residual - vectors.detach()) ** 2).sum()
            loss = loss + self._config.rqvae.commitment * pull
            residual = residual - vectors.detach()
            quantised = quantised + vectors.detach()
        passed = latent + (quantised - latent).detach()  # straight through
        total: Tensor = loss + ((self.decoder(passed) - batch.values) ** 2).sum()
        return total

    @torch.no_grad()
    def start_epoch(self, epoch: int) -> None:
        """Before the first epoch: start the codebooks from the latents."""
        self.chosen.zero_()
        if epoch:
            return
        latents = self._latents()
        fitted = residual_kmeans(
            latents.cpu().numpy(), self._config.levels, self._config.codes, "capacity",
            _START_ROUNDS, self._config.seed,
        )  # fmt: skip
        self.codebooks.copy_(torch.stack([level.centroids for level in fitted]))

    @torch.no_grad()
    def end_epoch(self) -> Mapping[str, float]:
        """Move unused codes to poorly met residuals; returns the shares of codes used."""
        residual, figures = self._latents(), {}
        for level, table in enumerate(self.codebooks):
            unused = (self.chosen[level] == 0).nonzero().view(-1)
            codes = nearest_codes(residual, table)
            figures[f"used_{level + 1}"] = 1 - unused.numel() / len(table)
            error = ((residual - table[codes]) ** 2).sum(1)
            far = error.argsort(descending=True, stable=True)[: unused.numel()]
            self.codebooks.data[level, unused[: far.numel()]] = residual[far]
            residual = residual - table[codes]
        return figures

    def to_codebooks(self) -> Codebooks:
        """The encoder and the codebooks as arrays."""
        layers = [layer for layer in self.encoder if isinstance(layer, nn.Linear)]
        arrays = [(_array(layer.weight), _array(layer.bias)) for layer in layers]
        return Codebooks(tuple(_array(level) for level in self.codebooks), tuple(arrays))

    def _latents(self) -> Tensor:
        values = self._values.to(self.codebooks.device)
        return torch.cat([self.encoder(block) for block in torch.split(values, 8192)])


def fit_rqvae(
    values: FloatArray, config: TokenizerConfig
) -> tuple[Codebooks, list[dict[str, object]]]:
    """Train an RQ-VAE on vectors ``[n, d]``; returns its codebooks and the training log.

    Raises:
        TrainingError: The loss is not finite.
        DataError: There are fewer vectors than codes.
    """
    table = torch.from_numpy(np.array(values, dtype=np.float32))
    torch.manual_seed(config.seed)
    module = RqVae(table, config)
    training = config.rqvae.training.model_copy(update={"seed": config.seed})
    log = Trainer(training, progress_bar=False).fit(module, VectorSource(table))
    return module.to_codebooks(), log


def _chain(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _array(values: Tensor) -> FloatArray:
    return values.detach().cpu().float().numpy().copy()
