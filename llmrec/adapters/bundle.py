"""What an adapter depends on, as hashes: a change in any of them makes all adapters void."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmrec.data.hashing import hash_json
from llmrec.errors import ArtifactError


@dataclass(frozen=True)
class Bundle:
    """The things that belong together; an empty text means that nothing was said.

    Attributes:
        base_model: Weights of the base model.
        tokenizer: Its tokenizer.
        experts: Experts and gates.
        ctr_model: The model whose user states the gates read.
        vocabulary: The items of that model.
        split: The split that all of it was trained on.
    """

    base_model: str
    experts: str
    tokenizer: str = ""
    ctr_model: str = ""
    vocabulary: str = ""
    split: str = ""

    @property
    def version(self) -> str:
        """Hash of all of them, 16 hexadecimal digits."""
        return hash_json(self.to_dict())[:16]

    def to_dict(self) -> dict[str, str]:
        """Name to hash."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> "Bundle":
        """Inverse of :meth:`to_dict`.

        Raises:
            ArtifactError: A key is unknown or missing; ``source`` is named.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise ArtifactError(f"{source} does not describe a bundle: {error}.") from None

    def filled(self, known: "Bundle") -> "Bundle":
        """This bundle with what it does not say taken from another."""
        return Bundle(**{k: v or getattr(known, k) for k, v in self.to_dict().items()})

    def require(self, given: "Bundle") -> None:
        """Refuse what was made for something else; where either says nothing, nothing is compared.

        Raises:
            ArtifactError: Two hashes differ; the sentence names which.
        """
        for name, ours in self.to_dict().items():
            theirs = getattr(given, name)
            if ours and theirs and ours != theirs:
                what = name.replace("_", " ")
                raise ArtifactError(
                    f"this store was made for {what} {ours}, but the {what} given is {theirs}; "
                    "make a new store, or give what this one was made for."
                )
