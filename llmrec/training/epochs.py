"""What a trained module may want to know about epochs, and what it wants forgotten.

All are optional: the loop asks whether the module has them. A module whose ``skips_parameters``
is true leaves some of its parameters unused in some steps, which several processes must know. One
whose ``needs_all_processes`` is true is validated by all of them, who each make every pass.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class EpochAware(Protocol):
    """A module that does something between epochs.

    What it remembers between steps must lie in its buffers, so that a resumed training continues
    as if it had not stopped; ``start_epoch`` is not called again for an epoch that was resumed
    half-way.
    """

    def start_epoch(self, epoch: int) -> None:
        """Called before the first step of every epoch, counted from 0."""
        ...

    def end_epoch(self) -> Mapping[str, float]:
        """Called after the last step of every epoch; the figures go to the log."""
        ...


def lasting_state(module: nn.Module) -> dict[str, Tensor]:
    """The state that is the result of training, copied to the CPU.

    A module names in ``scratch_state`` the entries of its state dict that only training itself
    needs; checkpoints hold them, the best weights do not.
    """
    scratch: frozenset[str] = getattr(module, "scratch_state", frozenset())
    return {
        name: tensor.detach().cpu().clone()
        for name, tensor in module.state_dict().items()
        if name not in scratch
    }
