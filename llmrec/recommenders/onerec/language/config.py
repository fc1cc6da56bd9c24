"""The settings of a language model that writes semantic IDs."""

from pydantic import Field

from llmrec.recommenders.onerec.config import GenerativeConfig
from llmrec.training.config import TrainingConfig


class OneRecLMConfig(GenerativeConfig):
    """A causal language model over texts and semantic IDs as a recommender."""

    language_model: str = Field(
        description="tiny:DATASET, hf:FOLDER_OR_HUB_NAME, or a folder: the model to start from."
    )
    history: int = Field(20, ge=1, description="Newest items of the history that are read.")
    session: int = Field(
        5,
        ge=1,
        description="Most items of a list, and not more than history; as many less one of the "
        "history are not read for it.",
    )
    titles: bool = Field(
        True, description="Learn the IDs of titles and the titles of IDs, too, once per epoch."
    )
    text_history: int = Field(
        0,
        ge=0,
        description="Also learn the next item from so many newest titles, and its title from the "
        "IDs of these items, for windows of every history, once per epoch; 0 leaves this out.",
    )
    training: TrainingConfig = Field(
        TrainingConfig(epochs=10, batch_size=32, learning_rate=3e-4, clip_norm=1.0),
        description="Settings of the training loop.",
    )
