"""An embedder that reads a folder of MiniLM-class weights: a BERT encoder, mean pooling, unit length.

The folder holds `config.json`, `tokenizer.json` or `vocab.txt`, and `model.safetensors` (computed in numpy, float32)
or `model.onnx` (computed by onnxruntime). Nothing is downloaded. sentence-transformers' folders have this layout. Needs
the extra `minilm`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mars.errors import InvalidFile, MissingExtra
from mars.memory.embedding import check_vectors
from mars.memory.records import Vector, check_share

Tokens = npt.NDArray[np.int64]
"""Token ids or a mask, shape ``[n, length]``."""

BATCH_TOKENS = 2048
"""The most tokens, padding included, that are computed together: their activations stay in the processor's cache."""

_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


class Encoder(Protocol):
    """Turns token ids into one hidden vector per token."""

    dimension: int
    """Length of a hidden vector."""

    def __call__(self, ids: Tokens, mask: Tokens) -> Vector:
        """Return shape ``[n, length, dimension]`` for ids and a mask of 0 and 1 of shape ``[n, length]``."""
        ...


class MiniLMEmbedder:
    """Vectors from the weights in a folder, computed on the processor.

    Raises `InvalidFile` if the folder lacks a file or holds another architecture, `MissingExtra` without the extra.
    The id is made of the weights' own bytes, so that two folders with the same weights agree.
    """

    def __init__(self, directory: str | Path, *, lexical_weight: float = 0.5, max_tokens: int = 256) -> None:
        folder = Path(directory)
        config = _read_config(folder)
        weights = _first(folder, "model.safetensors", "model.onnx", "onnx/model.onnx")
        self._encoder: Encoder = _bert(weights, config) if weights.suffix == ".safetensors" else _Onnx(weights)
        self._tokenizer = _tokenizer(folder, min(max_tokens, int(config.get("max_position_embeddings", max_tokens))))
        self._lexical_weight = check_share(lexical_weight, "lexical_weight")
        with weights.open("rb") as stream:
            digest = blake2b(digest_size=6)
            while block := stream.read(1 << 20):
                digest.update(block)
        self._id = f"minilm-{self._encoder.dimension}-{max_tokens}-{digest.hexdigest()}"

    @property
    def id(self) -> str:
        """Dimension, most tokens, and a digest of the weights."""
        return self._id

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._encoder.dimension

    @property
    def lexical_weight(self) -> float:
        """Share of the lexical arm, in [0, 1]."""
        return self._lexical_weight

    def embed(self, texts: Sequence[str]) -> Vector:
        """Return unit vectors of shape ``[len(texts), dimension]``, float32.

        Texts beyond `max_tokens` word pieces are cut there. Raises `InvalidVector` if the weights yield NaN.
        """
        encoded = [self._tokenizer(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda place: len(encoded[place]))
        rows = np.zeros((len(texts), self.dimension), np.float32)
        start = 0
        while start < len(order):
            end, longest = start + 1, len(encoded[order[start]])
            while end < len(order) and (end + 1 - start) * len(encoded[order[end]]) <= BATCH_TOKENS:
                longest = len(encoded[order[end]])
                end += 1
            batch = order[start:end]
            rows[batch] = self._pooled([encoded[place] for place in batch], longest)
            start = end
        return check_vectors(rows, len(texts), self.dimension, self._id)

    def _pooled(self, encoded: Sequence[Sequence[int]], length: int) -> Vector:
        ids, mask = np.zeros((2, len(encoded), length), np.int64)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        shares = (mask / np.maximum(mask.sum(axis=1, keepdims=True), 1)).astype(np.float32)
        return np.asarray(np.einsum("nld,nl->nd", self._encoder(ids, mask), shares), dtype=np.float32)


def _first(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InvalidFile(f"{folder} has none of {', '.join(names)}: give a folder of MiniLM-class weights")


def _read_config(folder: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(_first(folder, "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidFile):
            raise
        raise InvalidFile(f"{folder / 'config.json'} cannot be read as JSON: {error}") from error
    if not isinstance(config, dict) or config.get("model_type", "bert") != "bert":
        raise InvalidFile(f"{folder / 'config.json'} describes no BERT encoder; its model_type must be 'bert'")
    return config


class _Tokenizer:
    """Word pieces of a text, special tokens included, cut at a length."""

    def __init__(self, tokenizer: Any, length: int) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(length)
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text.encode("utf-8", "replace").decode()).ids
        return ids


def _tokenizer(folder: Path, length: int) -> _Tokenizer:
    path = _first(folder, "tokenizer.json", "vocab.txt")
    try:
        package = import_module("tokenizers")
    except ImportError as error:
        raise MissingExtra("MiniLMEmbedder", "minilm") from error
    try:
        if path.suffix == ".json":
            return _Tokenizer(package.Tokenizer.from_file(str(path)), length)
        return _Tokenizer(package.BertWordPieceTokenizer(str(path), lowercase=True), length)
    except Exception as error:
        raise InvalidFile(f"{path} cannot be read as a tokenizer: {error}") from error


def _bert(path: Path, config: Mapping[str, Any]) -> _Bert:
    try:
        load_file = import_module("safetensors.numpy").load_file
    except ImportError as error:
        raise MissingExtra("MiniLMEmbedder", "minilm") from error
    try:
        weights = {str(name).removeprefix("bert."): np.asarray(value) for name, value in load_file(path).items()}
        return _Bert(weights, config)
    except KeyError as error:
        raise InvalidFile(f"{path} lacks {error}: it holds other weights than config.json says") from error
    except Exception as error:
        raise InvalidFile(f"{path} cannot be read as safetensors: {error}") from error


class _Onnx:
    """An exported encoder, run by onnxruntime on one thread."""

    def __init__(self, path: Path) -> None:
        try:
            runtime = import_module("onnxruntime")
        except ImportError as error:
            raise MissingExtra("MiniLMEmbedder with model.onnx", "minilm") from error
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise InvalidFile(f"{path} cannot be read by onnxruntime: {error}") from error
        self._inputs = {each.name for each in self._session.get_inputs()}
        self.dimension = int(self._session.get_outputs()[0].shape[-1])

    def __call__(self, ids: Tokens, mask: Tokens) -> Vector:
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run(None, {name: value for name, value in given.items() if name in self._inputs})[0]
        return np.asarray(hidden, dtype=np.float32)


class _Bert:
    """The encoder of BERT (Devlin et al. 2018), forward only, float32."""

    def __init__(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> None:
        self._weights = {
            name: np.ascontiguousarray(value, dtype=np.float32)
            for name, value in weights.items()
            if value.dtype.kind == "f"
        }
        self.dimension = int(config["hidden_size"])
        self._layers = int(config["num_hidden_layers"])
        self._heads = int(config["num_attention_heads"])
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        tables = ("word", "position", "token_type")
        self._words, self._positions, kinds = (self._weights[f"embeddings.{name}_embeddings.weight"] for name in tables)
        self._kind = kinds[0]
        self._weights[f"encoder.layer.{self._layers - 1}.output.dense.weight"]
        if self._words.shape[1] != self.dimension or self.dimension % self._heads:
            raise KeyError(f"word embeddings of {self.dimension} dimensions in {self._heads} heads")

    def __call__(self, ids: Tokens, mask: Tokens) -> Vector:
        hidden = self._words[ids] + self._positions[: ids.shape[1]] + self._kind
        hidden = self._norm(hidden, "embeddings.LayerNorm")
        away = np.where(mask[:, None, None, :] > 0, np.float32(0.0), np.float32(-1e9))
        for layer in range(self._layers):
            name = f"encoder.layer.{layer}"
            attended = self._dense(
                self._attend(hidden, away, f"{name}.attention.self"), f"{name}.attention.output.dense"
            )
            hidden = self._norm(hidden + attended, f"{name}.attention.output.LayerNorm")
            wide = _gelu(self._dense(hidden, f"{name}.intermediate.dense"))
            hidden = self._norm(hidden + self._dense(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        return hidden

    def _dense(self, values: Vector, name: str) -> Vector:
        flat = values.reshape(-1, values.shape[-1])
        made = flat @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return np.asarray(made.reshape(*values.shape[:-1], -1), dtype=np.float32)

    def _attend(self, hidden: Vector, away: Vector, name: str) -> Vector:
        count, length, _ = hidden.shape

        def heads(part: str) -> Vector:
            values = self._dense(hidden, f"{name}.{part}").reshape(count, length, self._heads, -1)
            return np.ascontiguousarray(values.transpose(0, 2, 1, 3))

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(math.sqrt(query.shape[-1])) + away
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        return np.asarray((scores @ value).transpose(0, 2, 1, 3).reshape(count, length, -1), dtype=np.float32)

    def _norm(self, values: Vector, name: str) -> Vector:
        centred = values - values.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        return np.asarray(
            centred / scale * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"], dtype=np.float32
        )


def _gelu(values: Vector) -> Vector:
    """``x · Φ(x)``, the error function by Abramowitz and Stegun 7.1.26 (absolute error below 1.5e-7)."""
    size = np.abs(values) * np.float32(math.sqrt(0.5))
    t = np.float32(1.0) / (np.float32(1.0) + np.float32(0.3275911) * size)
    series = np.zeros_like(t)
    for factor in reversed(_ERF):
        series = (series + np.float32(factor)) * t
    erf = np.copysign(np.float32(1.0) - series * np.exp(-size * size), values)
    return np.asarray(values * (np.float32(0.5) + np.float32(0.5) * erf), dtype=np.float32)
