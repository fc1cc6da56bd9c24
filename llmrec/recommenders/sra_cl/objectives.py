"""Which objectives the settings ask for, put together from their parts."""

from llmrec.recommenders.sra_cl.bank import StateBank
from llmrec.recommenders.sra_cl.config import SRACLConfig
from llmrec.recommenders.sra_cl.events import TrainingEvents
from llmrec.recommenders.sra_cl.intents import CoarseIntent, FineIntent
from llmrec.recommenders.sra_cl.inter_user import InterUser
from llmrec.recommenders.sra_cl.intra_user import IntraUser, Substitution
from llmrec.recommenders.sra_cl.neighbor_states import BankStates, EncodedStates
from llmrec.recommenders.sra_cl.objective import Objective
from llmrec.recommenders.sra_cl.semantics import Semantics
from llmrec.recommenders.sra_cl.synthesis import Synthesis


def make_objectives(
    config: SRACLConfig, events: TrainingEvents, semantics: Semantics | None, bank: StateBank | None
) -> list[Objective]:
    """One objective for every weight above 0.

    Args:
        config: The settings.
        events: The training events.
        semantics: Neighbours and vectors; needed where ``alpha`` or ``beta`` is above 0.
        bank: Where neighbours' states are read; None encodes their sequences.
    """
    when, t = config.warmup_epochs, config.temperature
    states = EncodedStates(events, config.max_length) if bank is None else BankStates(bank)
    found: list[Objective] = []
    if config.alpha:
        assert semantics is not None
        table, vectors = semantics.sequence_neighbors, semantics.sequences
        weights = None
        if config.synthesis == "learned":
            weights = Synthesis(
                vectors.shape[1],
                config.dim,
                config.attention,
                config.synthesis_dropout,
                config.renormalise,
            )
        again = config.encode_again
        found.append(InterUser(table, vectors, states, weights, again, config.alpha, when, t))
    if config.beta:
        assert semantics is not None
        substitution = Substitution(semantics.item_neighbors, config.replace_probability)
        found.append(IntraUser(substitution, config.views, config.beta, when, t))
    if config.coarse_intent:
        found.append(CoarseIntent(events, states, config.coarse_intent, when, t))
    if config.fine_intent:
        size = (len(events), config.dim, min(config.clusters, len(events)))
        seed, mask = config.training.seed, config.mask_alike
        found.append(FineIntent(*size, seed, mask, config.fine_intent, when, t))
    return found
