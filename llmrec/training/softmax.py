"""Cross-entropy over large catalogues: exact in chunks, or sampled.

``full_softmax_loss`` never forms the matrix of all positions by all items: it works on chunks that
fit the cache (CPU) or a fixed budget (GPU) and computes the gradient in the same pass, so a logit
is computed once, used for loss and gradient, and forgotten. ``sampled_softmax_loss`` scores the
target against drawn negatives. Both return sums over positions; dividing is the caller's job.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

# Values in a chunk on CPU: 256 rows x 12k items. Measured fastest of 32 to 256 rows on two cores;
# forming all logits of a batch at once is several times slower, because it leaves every cache.
_CPU_CHUNK_VALUES = 256 * 12_288
_GPU_CHUNK_VALUES = 1 << 28


@dataclass(frozen=True)
class LogitShift:
    """A learnt number added to some logits.

    Attributes:
        rows: ``[m]`` int64 positions, ascending.
        columns: ``[m]`` int64 row numbers of ``items``; no pair twice.
        value: The number, a scalar that may require a gradient.
    """

    rows: Tensor
    columns: Tensor
    value: Tensor


def full_softmax_loss(
    states: Tensor,
    items: Tensor,
    targets: Tensor,
    precision: torch.dtype = torch.float32,
    shift: LogitShift | None = None,
) -> Tensor:
    """Summed exact cross-entropy ``-sum_i log softmax(states_i . items^T)[targets_i]``.

    Args:
        states: ``[positions, d]`` float32.
        items: ``[items, d]`` float32 item vectors.
        targets: ``[positions]`` int64 row numbers of ``items``.
        precision: Type of the logits, of the probabilities made of them, and of the three matrix
            products; the gradient of ``items`` is summed in float32.
        shift: Added to the logits before the softmax, or None.

    Returns:
        A scalar, differentiable once with respect to ``states``, ``items`` and the shift's value.
    """
    value = None if shift is None else shift.value
    loss: Tensor = _FullSoftmax.apply(states, items, targets, precision, value, shift)  # type: ignore[no-untyped-call]
    return loss


class _FullSoftmax(torch.autograd.Function):
    """Loss and both gradients in one pass over chunks of positions."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        states: Tensor,
        items: Tensor,
        targets: Tensor,
        precision: torch.dtype,
        value: Tensor | None,
        shift: LogitShift | None,
    ) -> Tensor:
        wanted = states.requires_grad or items.requires_grad
        catalog = items.detach().to(precision)
        state_grad = torch.empty_like(states) if wanted else None
        item_grad = torch.zeros_like(items) if wanted else None
        total = torch.zeros((), dtype=torch.float64, device=states.device)
        budget = _CPU_CHUNK_VALUES if states.device.type == "cpu" else _GPU_CHUNK_VALUES
        rows = max(16, budget // len(items))
        buffer = catalog.new_empty(min(rows, len(states)), len(items))
        shifted = _ShiftedChunks(shift, rows, len(states))
        for start in range(0, len(states), rows):
            part = slice(start, start + rows)
            chunk = states[part].detach().to(precision)
            target = targets[part].unsqueeze(1)
            values = buffer[: len(chunk)]
            torch.mm(chunk, catalog.T, out=values)
            shifted.add(values, start)
            torch.softmax(values, 1, out=values)
            # The clamp keeps the reported loss finite; the gradient below does not need it.
            total -= values.gather(1, target).float().clamp_min(1e-38).log().sum()
            if state_grad is None or item_grad is None:
                continue
            values.scatter_add_(1, target, values.new_full((1, 1), -1.0).expand_as(target))
            shifted.collect(values, start)
            state_grad[part] = values @ catalog
            _add_product(item_grad, values.T, chunk)
        ctx.save_for_backward(state_grad, item_grad, shifted.gradient)  # type: ignore[arg-type]
        return total.to(states.dtype)

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> tuple[Tensor, Tensor, None, None, Tensor | None, None]:
        (scale,) = outputs
        state_grad, item_grad, value_grad = ctx.saved_tensors
        value_grad = None if value_grad is None else value_grad.to(scale.dtype) * scale
        return state_grad.mul_(scale), item_grad.mul_(scale), None, None, value_grad, None


class _ShiftedChunks:
    """Adds a shift to chunks of logits, and sums its gradient from their slopes."""

    def __init__(self, shift: LogitShift | None, rows: int, positions: int) -> None:
        self._shift = shift
        self._rows = rows
        self.gradient: Tensor | None = None
        if shift is None:
            return
        self.gradient = torch.zeros((), dtype=torch.float64, device=shift.value.device)
        starts = torch.arange(0, positions + rows, rows, device=shift.rows.device)
        self._bounds = torch.searchsorted(shift.rows, starts).tolist()

    def add(self, logits: Tensor, start: int) -> None:
        if self._shift is not None:
            value = self._shift.value.detach().to(logits.dtype)
            rows, columns = self._cells(start)
            logits[rows, columns] += value

    def collect(self, slopes: Tensor, start: int) -> None:
        if self.gradient is not None:
            self.gradient += slopes[self._cells(start)].double().sum()

    def _cells(self, start: int) -> tuple[Tensor, Tensor]:
        assert self._shift is not None
        chunk = start // self._rows
        part = slice(self._bounds[chunk], self._bounds[chunk + 1])
        return self._shift.rows[part] - start, self._shift.columns[part]


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """``total += left @ right`` with ``total`` in float32 whatever the factors are."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def sampled_softmax_loss(
    states: Tensor,
    items: Tensor,
    targets: Tensor,
    negatives: Tensor,
    log_expected: Tensor | None = None,
) -> Tensor:
    """Summed cross-entropy of each target against shared drawn negatives.

    With ``log_expected`` each negative's logit is lowered by the log of its expected number of
    draws (logQ correction, Bengio and Senecal 2008), which makes ``exp(target) + sum
    exp(corrected)`` an unbiased estimate of the full softmax's denominator. The target is always
    in the sum and is not corrected. A negative that equals the target is masked.

    Args:
        states: ``[positions, d]``.
        items: ``[items, d]`` item vectors.
        targets: ``[positions]`` row numbers of ``items``.
        negatives: ``[n]`` row numbers of ``items``, drawn with replacement.
        log_expected: ``[n]`` log of ``n * q(negative)``, or None for no correction.

    Returns:
        A scalar.
    """
    positive = (states * items[targets]).sum(1, keepdim=True)
    others = states @ items[negatives].T
    if log_expected is not None:
        others = others - log_expected
    others = others.masked_fill(negatives == targets.unsqueeze(1), -torch.inf)
    logits = torch.cat([positive, others], 1).float()
    return (torch.logsumexp(logits, 1) - logits[:, 0]).sum()
