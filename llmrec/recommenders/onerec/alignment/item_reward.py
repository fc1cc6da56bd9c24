r"""A reward model with towers over the items of a list, each after those before it.

    logit_t(i_r) = tower_t(x_r, a_r, x_r * a_r) - w_t sum_(j<r) d^(r-1-j) max(0, cos(c_r, c_j))
    P_t(list)    = sum_r g^r sigmoid(logit_t(i_r)) / sum_r g^r

``x`` is an item (learnt by itself, plus a map of its content vector), ``a`` its
attention to the user's history, ``c`` its content vector and ``g`` the discount of the settings.
An item is liked less after items of like content: the weights ``w >= 0`` and the memory ``d`` of
that are all that is learnt about it, one number each, so that lists of several topics are judged
by the same rule as the logged ones, which seldom have several. Since the list's value is a mean of
its items' values, a list may be worth more than any that was logged.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.errors import DataError
from llmrec.recommenders.onerec.alignment.config import RewardConfig
from llmrec.recommenders.onerec.alignment.reward import RewardModel, ages, attendable
from llmrec.recommenders.onerec.generator.attention import Attention
from llmrec.training.dropout import ByteDropout

_BORED, _MEMORY = 0.1, 0.8  # where the two start


class ItemReward(RewardModel):
    """See the module, and the base class for the other arguments.

    Args:
        contents: ``[items + 1, content]`` content vectors, row 0 for padding. None for zeros, to be
            loaded.

    Raises:
        DataError: ``contents`` has another shape.
    """

    contents: Tensor

    def __init__(
        self,
        config: RewardConfig,
        n_items: int,
        base_rates: Sequence[float],
        contents: Tensor | None = None,
    ) -> None:
        super().__init__(config, n_items, base_rates)
        dim, towers = config.dim, len(config.towers)
        shape = (n_items + 1, config.content)
        contents = torch.zeros(shape) if contents is None else contents
        if contents.shape != shape:
            raise DataError(
                f"the contents of the items have shape {list(contents.shape)}, not {list(shape)}: "
                "one row per item, and one before them for padding."
            )
        self.register_buffer("contents", contents.float())
        self.items = nn.Embedding(n_items + 1, dim, padding_idx=0)
        self.places = nn.Embedding(config.history, dim)
        self.described = nn.Linear(config.content, dim, bias=False)
        self.target_attention = Attention(dim, config.heads, config.dropout)
        self.dropout = ByteDropout(config.dropout)
        self.towers = nn.Sequential(
            nn.Linear(3 * dim, config.hidden), nn.GELU(), nn.Linear(config.hidden, towers)
        )
        self.bored = nn.Parameter(torch.full((towers,), math.log(math.expm1(_BORED))))
        self.memory = nn.Parameter(torch.tensor(math.log(_MEMORY / (1 - _MEMORY))))
        for embedding in (self.items, self.places):
            nn.init.normal_(embedding.weight, std=0.1)

    def logits(self, history: Tensor, session: Tensor) -> Tensor:
        """``[rows, m, towers]``; see the base class."""
        fresh = self.fresh_logits(history, session)
        fatigue = self.met_before(session)[..., None] * functional.softplus(self.bored)
        return (fresh - fatigue).float()

    def fresh_logits(self, history: Tensor, items: Tensor) -> Tensor:
        """Of every item as the first of a list, ``[rows, m, towers]``."""
        read = history > 0
        places = self.places(ages(read).clamp_max(self.config.history - 1))
        listed = self.dropout(self._vectors(items))
        aware = self.target_attention(listed, self._vectors(history) + places, attendable(read))
        found: Tensor = self.towers(torch.cat([listed, aware, listed * aware], dim=-1))
        return found

    def met_before(self, session: Tensor) -> Tensor:
        """Content met before each item of a list, faded by how long ago: ``[rows, m]``."""
        m = session.shape[1]
        return (self._alike(session, session) * self._faded(m, m)).sum(-1)

    def extended(self, history: Tensor, earlier: Tensor, items: Tensor) -> Tensor:
        """See the base class; what all lists of a row share is computed once."""
        begun, weight = earlier.shape[1], functional.softplus(self.bored)
        fresh = self.fresh_logits(history, torch.cat([earlier, items], dim=1))
        met = (self._alike(items, earlier) * self._faded(begun, begun + 1)[-1]).sum(-1)
        fatigue = torch.cat([self.met_before(earlier), met], dim=1)[..., None] * weight
        found = (fresh - fatigue).float().sigmoid()
        place = torch.arange(begun + 1, device=items.device)
        share = self.config.discount**place / (self.config.discount**place).sum()
        before = (found[:, :begun] * share[:-1, None]).sum(1, keepdim=True)
        whole = before + found[:, begun:] * share[-1]
        return self.aggregate(whole.flatten(0, 1)).view(items.shape)

    def probabilities(self, history: Tensor, session: Tensor) -> Tensor:
        """Means over the items of a list; see the base class."""
        place = torch.arange(session.shape[1], device=session.device)
        share = self.config.discount**place * (session > 0)
        share = share / share.sum(1, keepdim=True).clamp_min(1e-9)
        return (self.logits(history, session).sigmoid() * share[..., None]).sum(1)

    def _alike(self, items: Tensor, others: Tensor) -> Tensor:
        """Cosines of contents where they are positive, ``[rows, items, others]``."""
        contents = (functional.normalize(self.contents[codes], dim=-1) for codes in (items, others))
        first, second = contents
        return (first @ second.transpose(1, 2)).clamp_min(0)

    def _faded(self, others: int, items: int) -> Tensor:
        """What is left at each of ``items`` places of each of the first ``others``; 0 if later."""
        device = self.memory.device
        since = torch.arange(items, device=device)[:, None] - 1
        since = since - torch.arange(others, device=device)
        left: Tensor = self.memory.sigmoid() ** since.clamp_min(0) * (since >= 0)
        return left

    def _vectors(self, items: Tensor) -> Tensor:
        vectors: Tensor = self.items(items) + self.described(self.contents[items])
        return vectors
