"""Where a model lies, and what its directory must hold before workers try to load it."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, cast

from rlvr.config import ConfigError

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")

_DOWNLOADED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")

_OWN_DIRECTORIES = ("models", "runs", "checkpoints", "outputs")


class ModelDirectoryError(ConfigError):
    """A model directory that no worker could load, and what it lacks."""


def is_local(model: str) -> bool:
    """Whether it names a directory and not a model on the Hugging Face Hub (``org/name``)."""
    path = Path(model).expanduser()
    return (
        model.startswith(("/", "./", "../", "~"))
        or path.exists()
        or len(path.parts) != 2
        or path.parts[0] in _OWN_DIRECTORIES
    )


def resolve_model(model: str) -> str:
    """The directory of a model: its own, or its copy of the Hub's, downloaded if need be.

    Raises:
        ModelDirectoryError: the Hub does not have it or can't be reached, or the directory lacks
            something.
    """
    directory = str(Path(model).expanduser().absolute() if is_local(model) else _download(model))
    try:
        check_model(directory)
    except ModelDirectoryError as error:
        raise ModelDirectoryError(f"model={model}: {error}") from error
    return directory


def check_model(model: str) -> None:
    """Refuse a directory without a configuration, whole weights or a tokenizer.

    Raises:
        ModelDirectoryError: says what is missing or broken, and the remedy.
    """
    directory = Path(model).expanduser()
    if not directory.is_dir():
        raise ModelDirectoryError(_no_directory(directory))
    if not (directory / "config.json").is_file():
        raise ModelDirectoryError(
            f"{directory} has no config.json: name the directory that save_pretrained wrote"
        )
    settings = _read_json(directory / "config.json")
    if not isinstance(settings, dict) or "model_type" not in settings:
        raise ModelDirectoryError(f"{directory}/config.json names no model_type: save it again")
    _check_weights(directory)
    if not any((directory / name).is_file() for name in _TOKENIZERS):
        raise ModelDirectoryError(
            f"{directory} has no tokenizer ({', '.join(_TOKENIZERS)}): "
            "save the tokenizer into it with save_pretrained"
        )


def longest_sequence(model: str) -> int | None:
    """Tokens that the model's position embedding covers; None where its config leaves that open."""
    settings = cast(dict[str, Any], _read_json(Path(model).expanduser() / "config.json"))
    text = cast(dict[str, Any], settings.get("text_config") or settings)
    rope = cast(dict[str, Any], text.get("rope_scaling") or text.get("rope_parameters") or {})
    stretched = rope.get("rope_type", rope.get("type", "default")) != "default"
    longest: Any = text.get("max_position_embeddings")
    return None if stretched or not isinstance(longest, int) else longest


def _download(name: str) -> str:
    # Only here: runs on local models need not wait for its import.
    import huggingface_hub  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    try:
        return huggingface_hub.snapshot_download(name, allow_patterns=list(_DOWNLOADED))
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelDirectoryError(
            f"model={name}: the Hugging Face Hub does not give it ({type(error).__name__}: "
            f"{reason}). Check the name and the network, log in if it is gated, or give "
            "the directory of a copy: model=/path/to/model"
        ) from error


def _no_directory(directory: Path) -> str:
    parent = directory.absolute().parent
    siblings = [p.name for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []
    near = difflib.get_close_matches(directory.name, siblings, n=1)
    what = "is a file, not a directory" if directory.is_file() else "does not exist"
    hint = f"; did you mean {directory.parent / near[0]}?" if near else "."
    return (
        f"{directory.absolute()} {what}{hint} Name a directory with a model, or make a small one: "
        f"python -m rlvr.tiny --out {directory}"
    )


def _check_weights(directory: Path) -> None:
    shards = sorted(directory.glob("*.safetensors"))
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        listing = cast(dict[str, Any], _read_json(index))
        wanted = {str(name) for name in listing.get("weight_map", {}).values()}
        if lacking := sorted(wanted - {shard.name for shard in shards}):
            raise ModelDirectoryError(
                f"{directory} lacks {', '.join(lacking)}, which {index.name} lists: "
                "download or copy them again"
            )
    if not shards and not list(directory.glob("pytorch_model*.bin")):
        raise ModelDirectoryError(
            f"{directory} has no weights (*.safetensors or pytorch_model*.bin): "
            "download or save the model again"
        )
    for shard in shards:
        _check_whole(shard)


def _check_whole(shard: Path) -> None:
    """Compare a safetensors file's size with what its header lists; no tensor is read."""
    size = shard.stat().st_size
    with shard.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        header = file.read(header_bytes) if 0 < header_bytes < size else b""
    try:
        listed: dict[str, Any] = json.loads(header)
    except ValueError as error:
        raise ModelDirectoryError(
            f"{shard} is not a safetensors file (no header): download or save it again"
        ) from error
    entries = [entry for name, entry in listed.items() if name != "__metadata__"]
    ends = [int(entry["data_offsets"][1]) for entry in entries]
    whole = 8 + header_bytes + max(ends, default=0)
    if size != whole:
        raise ModelDirectoryError(
            f"{shard} has {size} bytes of {whole}: it was cut short; download or save it again"
        )


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelDirectoryError(f"{path} is not JSON ({error}): save it again") from error
