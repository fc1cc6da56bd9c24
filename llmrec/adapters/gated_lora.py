"""A causal language model with gated LoRA on some of its linear layers.

The base model is frozen and changed in place: chosen ``nn.Linear`` layers get experts beside them,
the gates stand beside the model. Everything about a batch travels through
:mod:`llmrec.adapters.context`.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from llmrec.adapters.config import GatedLoraConfig
from llmrec.adapters.context import Gates, Route, recompute_contexts, use_gates
from llmrec.adapters.experts import BaseModelId, Experts, Site
from llmrec.adapters.gates import GateBank, balance_loss
from llmrec.adapters.layer import GatedLinear
from llmrec.errors import ConfigError, nearest_name

_BLOCK_NUMBER = re.compile(r"\.(\d+)\.")


class GatedLora(nn.Module):
    """Experts and gates on a causal language model.

    Args:
        model: A transformers model; it is frozen and its target layers are wrapped.
        config: Settings.
        base_name: What the base model is called in saved files; None takes its own name.

    Raises:
        ConfigError: No layer has a target's name, one is no linear layer, or the model has gated
            layers already.

    Example:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> base = LlamaForCausalLM(LlamaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1,
        ...     intermediate_size=16, num_attention_heads=2, num_key_value_heads=1))
        >>> config = GatedLoraConfig(target_modules=("q_proj", "v_proj"), gate_dim=4)
        >>> model = GatedLora(base, config)
        >>> ids, states = torch.ones(2, 5, dtype=torch.long), torch.randn(2, 4)
        >>> model(input_ids=ids, gate_input=states).logits.shape
        torch.Size([2, 5, 32])
    """

    def __init__(
        self, model: nn.Module, config: GatedLoraConfig, base_name: str | None = None
    ) -> None:
        super().__init__()
        self.config_lora = config
        targets = _targets(model, config.target_modules)
        self.base_id = BaseModelId.of(model, base_name)
        model.requires_grad_(False)
        self.sites, n_gates = _sites(targets, config)
        for site in self.sites:
            parent, _, name = site.path.rpartition(".")
            gated = GatedLinear(targets[site.path], config, site.gate)
            setattr(model.get_submodule(parent), name, gated)
        self.model = model
        device = next(model.parameters()).device
        has_gates = config.compose != "shared"
        self.gates = GateBank(config, n_gates).to(device) if has_gates else None

    @property
    def config(self) -> Any:
        """The base model's configuration, where trainers look for it."""
        return self.model.config

    @property
    def n_gates(self) -> int:
        """Number of gates."""
        return 1 + max(site.gate for site in self.sites)

    def gate_weights(self, states: Tensor, temperature: float | None = None) -> Tensor:
        """``[n, gates, blocks]`` weights from ``[n, gate_dim]`` states; ones for ``shared``.

        Args:
            states: What the gates read, one row per user (or user and item).
            temperature: None means the final one; see
                :func:`~llmrec.adapters.config.temperature_at`.
        """
        if self.gates is None:
            return torch.ones(1, self.n_gates, self.config_lora.blocks, device=self._device())
        return self.gates(states.to(self._device()), temperature)  # type: ignore[no-any-return]

    def balance(self, weights: Tensor) -> Tensor:
        """The weighted balance loss to add to a mean loss; 0 where it is off.

        Args:
            weights: ``[n, gates, K]`` as :meth:`gate_weights` gives them, of a whole batch: the
                loss is of their mean. Roots are squared first, so that they sum to 1 again.
        """
        config = self.config_lora
        if not config.balance:
            return weights.new_zeros(())
        shares = weights.square() if config.gate_activation == "sqrt_softmax" else weights
        return config.balance * balance_loss(shares)

    @contextmanager
    def using(self, weights: Tensor | None, route: Route = "auto") -> Iterator[nn.Module]:
        """Run the base model with given weights, for instance ``generate``.

        Args:
            weights: ``[rows, gates, blocks]``, one row shared by all, or None for the base model
                without its adapters.
            route: See :class:`~llmrec.adapters.context.Gates`.

        Yields:
            The base model.
        """
        if weights is not None and weights.shape[1:] != (self.n_gates, self.config_lora.blocks):
            raise ConfigError(
                f"gate weights have shape {list(weights.shape)}, but this model has "
                f"{self.n_gates} gates over {self.config_lora.blocks} experts."
            )
        with use_gates(Gates(weights, route)):
            yield self.model

    def forward(
        self,
        *args: Any,
        gate_input: Tensor | None = None,
        gate_weights: Tensor | None = None,
        temperature: float | None = None,
        route: Route = "auto",
        **kwargs: Any,
    ) -> Any:
        """The base model's forward pass, every row with its own adapter.

        Args:
            args: For the base model.
            gate_input: ``[rows, gate_dim]`` states of the rows' users.
            gate_weights: ``[rows, gates, blocks]`` in place of ``gate_input``; for ``shared``
                neither is needed.
            temperature: Of the gates.
            route: See :class:`~llmrec.adapters.context.Gates`.
            kwargs: For the base model.

        Raises:
            ConfigError: Neither or both of the two are given.
        """
        needed = self.gates is not None
        if (gate_input is not None) + (gate_weights is not None) != 1 and (
            needed or gate_weights is not None
        ):
            raise ConfigError("give either gate_input or gate_weights, one of the two.")
        if gate_weights is None:
            state = gate_input if gate_input is not None else torch.empty(1, 0)
            gate_weights = self.gate_weights(state, temperature)
        with self.using(gate_weights, route):
            return self.model(*args, **kwargs)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        """Recompute activations in the backward pass, with the gates of the forward pass.

        Raises:
            ConfigError: The reentrant kind is asked for; it would lose the gates' gradients.
        """
        options = dict(gradient_checkpointing_kwargs or {})
        if options.get("use_reentrant"):
            raise ConfigError("gated LoRA needs gradient checkpointing with use_reentrant=False.")
        options |= {"use_reentrant": False, "context_fn": recompute_contexts}
        self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)  # type: ignore[operator]

    def gradient_checkpointing_disable(self) -> None:
        """Keep activations again."""
        self.model.gradient_checkpointing_disable()  # type: ignore[operator]

    def experts(self) -> Experts:
        """What was learnt, without the base model: copies on the CPU."""
        found: dict[str, Tensor] = {}
        for site in self.sites:
            layer = self.model.get_submodule(site.path)
            found |= {f"{site.path}.{name}": value for name, value in _factors(layer)}
        if self.gates is not None:
            found |= {f"gates.{name}": value for name, value in self.gates.named_parameters()}
        tensors = {name: value.detach().cpu().clone() for name, value in found.items()}
        return Experts(self.config_lora, tuple(self.sites), self.base_id, tensors)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write experts, gates and settings, without the base model."""
        self.experts().save(directory)

    def load_experts(self, experts: Experts) -> Self:
        """Take over experts and gates.

        Raises:
            ArtifactError: They are of another base model, composition or layout; the difference
                is named.
        """
        self.experts().require_same_layout(experts)
        with torch.no_grad():
            for site in self.sites:
                layer = self.model.get_submodule(site.path)
                for name, value in _factors(layer):
                    value.copy_(experts.tensors[f"{site.path}.{name}"])
            if self.gates is not None:
                for name, value in self.gates.named_parameters():
                    value.copy_(experts.tensors[f"gates.{name}"])
        return self

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, model: nn.Module, base_name: str | None = None
    ) -> Self:
        """Put saved experts on a base model.

        Args:
            directory: What :meth:`save_pretrained` wrote.
            model: The base model they were trained on.
            base_name: As for the constructor.

        Raises:
            ArtifactError: The files are damaged, or of another base model.
        """
        experts = Experts.load(directory)
        experts.base.require(BaseModelId.of(model, base_name))
        return cls(model, experts.config, base_name).load_experts(experts).eval()

    def _device(self) -> torch.device:
        return next(self.parameters()).device


def expert_similarity(experts: Experts) -> float:
    """Mean cosine of the products ``B_k A_k`` of different experts; 1 means collapsed.

    Computed from the factors: ``<B_i A_i, B_j A_j> = sum((B_i^T B_j) * (A_i A_j^T))``.
    """
    blocks = experts.config.blocks
    if blocks == 1:
        return 1.0
    found = []
    for site in experts.sites:
        a, b = (experts.tensors[f"{site.path}.lora_{x}"].double() for x in "AB")
        split_a = a.view(blocks, -1, a.shape[1])
        split_b = b.T.reshape(blocks, -1, b.shape[0])
        inner_a = torch.einsum("ird,jsd->ijrs", split_a, split_a)
        inner_b = torch.einsum("iro,jso->ijrs", split_b, split_b)
        gram = (inner_a * inner_b).sum((-1, -2))
        lengths = gram.diagonal().clamp(min=1e-30).sqrt()
        cosine = gram / lengths.unsqueeze(0) / lengths.unsqueeze(1)
        found.append((cosine.sum() - cosine.diagonal().sum()) / (blocks * (blocks - 1)))
    return float(torch.stack(found).mean())


def _factors(layer: nn.Module) -> list[tuple[str, Tensor]]:
    """The stacked factors of a gated layer, by name."""
    assert isinstance(layer, GatedLinear)
    return [("lora_A", layer.lora_A), ("lora_B", layer.lora_B)]


def _targets(model: nn.Module, names: tuple[str, ...]) -> dict[str, nn.Linear]:
    """Target layers by path, in the order of the model."""
    found: dict[str, nn.Linear] = {}
    linear = set()
    for path, module in model.named_modules():
        last = path.rpartition(".")[2]
        if isinstance(module, GatedLinear):
            raise ConfigError(f"{path} is gated already; load the base model again.")
        if isinstance(module, nn.Linear):
            linear.add(last)
        if last not in names:
            continue
        if not isinstance(module, nn.Linear):
            raise ConfigError(f"{path} is a {type(module).__name__}, not a linear layer.")
        found[path] = module
    missing = [name for name in names if name not in {p.rpartition(".")[2] for p in found}]
    if missing:
        raise ConfigError(
            f"no layer of {type(model).__name__} is called {missing[0]!r}"
            f"{nearest_name(missing[0], linear)}."
        )
    return found


def _sites(targets: Mapping[str, nn.Linear], config: GatedLoraConfig) -> tuple[list[Site], int]:
    """Where the experts go, and how many gates there are."""
    keys: dict[str, int] = {}
    sites = []
    for path, layer in targets.items():
        number = _BLOCK_NUMBER.search(f".{path}.")
        block = number[1] if number else path
        key = {"module": path, "layer": block, "global": ""}[config.gate_scope]
        gate = keys.setdefault(key, len(keys))
        sites.append(Site(path, layer.in_features, layer.out_features, gate))
    return sites, len(keys)
