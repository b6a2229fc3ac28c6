"""Embedders: deterministic, of unit length, and refused when they are not."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings

from mars.errors import InvalidFile, InvalidSetting, InvalidVector
from mars.memory.embedding import HashingEmbedder, LangchainEmbedder, check_vectors, normalised, unit
from mars.memory.interfaces import Embedder
from mars.memory.minilm import MiniLMEmbedder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ann", "walks", "her", "dog", "##s", "in", "rome"]
HIDDEN, HEADS, LAYERS, WIDE = 8, 2, 2, 16


class Fixed(Embeddings):
    """Returns the same given value for every text."""

    def __init__(self, value: list[float]) -> None:
        self.value = value

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One copy per text."""
        return [self.value for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        """The value."""
        return self.value


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=60), max_size=5))
def test_hashing_any_text(texts: list[str]) -> None:
    """Any texts give finite vectors of unit length, or zero where there is no word; equal texts, equal vectors."""
    embedder = HashingEmbedder(64)
    rows = embedder.embed(texts)
    assert rows.shape == (len(texts), 64)
    assert rows.dtype == np.float32
    lengths = np.linalg.norm(rows, axis=1)
    assert (np.isclose(lengths, 1.0, atol=1e-5) | (lengths == 0.0)).all()
    assert (embedder.embed(texts) == rows).all()


def test_hashing_across_processes() -> None:
    """Another process with another hash seed gives the same vector: the store's vectors stay comparable."""
    code = "from mars.memory.embedding import HashingEmbedder as E; print(E(16).embed(['Ann walks dogs']).tolist())"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
    here = HashingEmbedder(16).embed(["Ann walks dogs"])
    assert json.loads(runs.pop()) == here.tolist()


def test_hashing_similarity() -> None:
    """Inflections and misspellings are near, other texts are not."""
    first, inflected, misspelt, other = HashingEmbedder().embed(
        ["I love my dog", "I loved my dogs", "I lov my doggg", "quantum physics lecture"]
    )
    assert first @ inflected > 0.8
    assert first @ misspelt > first @ other
    assert abs(first @ other) < 0.3


def test_embedders_are_embedders() -> None:
    """The built-in ones satisfy the interface; ids tell settings apart; weights come from the embedder."""
    hashing = HashingEmbedder()
    wrapped = LangchainEmbedder(DeterministicFakeEmbedding(size=12), id="fake-12", lexical_weight=0.4)
    assert isinstance(hashing, Embedder)
    assert isinstance(wrapped, Embedder)
    assert hashing.lexical_weight == 1.0
    assert (wrapped.id, wrapped.dimension, wrapped.lexical_weight) == ("fake-12", 12, 0.4)
    assert HashingEmbedder(8).id != HashingEmbedder(16).id
    with pytest.raises(InvalidSetting):
        HashingEmbedder(4)


def test_unit_keeps_what_has_unit_length() -> None:
    """A vector of unit length keeps every bit, as a copy; another one is scaled; zero stays zero."""
    rows = np.random.default_rng(3).standard_normal((50, 384)).astype(np.float32)
    scaled = normalised(rows)
    for row, straight in zip(rows, scaled, strict=True):
        kept = unit(straight)
        assert np.array_equal(kept, straight)
        assert not np.shares_memory(kept, straight)
        for factor in (1e-3, 1.001, 1e15):
            assert np.allclose(unit(row * np.float32(factor)), straight, rtol=0, atol=1e-6)
    assert not unit(np.zeros(8, np.float32)).any()


def test_langchain_both_ways() -> None:
    """The adapter gives the same unit vectors awaited and called, and nothing for nothing."""
    wrapped = LangchainEmbedder(DeterministicFakeEmbedding(size=12), id="fake")
    rows = wrapped.embed(["a", "b"])
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0)
    assert (asyncio.run(wrapped.aembed(["a", "b"])) == rows).all()
    assert wrapped.embed([]).shape == asyncio.run(wrapped.aembed([])).shape == (0, 12)


@pytest.mark.parametrize("value", [[float("nan"), 1.0], [float("inf"), 1.0], [1.0], [1e60, 0.0]])
def test_langchain_refused(value: list[float]) -> None:
    """NaN, infinity (also by overflow of float32) and a wrong dimension raise an error that names the embedder."""
    wrapped = LangchainEmbedder(Fixed(value), id="broken", dimension=2)
    with pytest.raises(InvalidVector, match="broken"):
        wrapped.embed(["a"])
    with pytest.raises(InvalidVector, match="broken"):
        asyncio.run(wrapped.aembed(["a"]))


def test_no_numbers_refused() -> None:
    """What is no array of numbers is refused with the same error."""
    for value in ("text", [["a"]], [[1.0], [1.0, 2.0]], None):
        with pytest.raises(InvalidVector):
            check_vectors(value, 1, 2, "odd")
    with pytest.raises(InvalidVector):
        LangchainEmbedder(Fixed([]), id="empty")


# A folder of weights


def _weights(seed: int = 0) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    draw = np.random.default_rng(seed).standard_normal
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), HIDDEN),
        "embeddings.position_embeddings.weight": (16, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,),
        "embeddings.LayerNorm.bias": (HIDDEN,),
    }
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        parts = {f"attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")}
        parts |= {"attention.output.dense": (HIDDEN, HIDDEN)}
        parts |= {"intermediate.dense": (WIDE, HIDDEN), "output.dense": (HIDDEN, WIDE)}
        for part, shape in parts.items():
            shapes |= {f"{name}.{part}.weight": shape, f"{name}.{part}.bias": shape[:1]}
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{name}.{part}.weight": (HIDDEN,), f"{name}.{part}.bias": (HIDDEN,)}
    return {name: np.asarray(draw(shape), np.float32) for name, shape in shapes.items()}


def _folder(path: Path, weights: dict[str, np.ndarray[Any, np.dtype[np.float32]]] | None = None) -> Path:
    save_file = pytest.importorskip("safetensors.numpy", reason="pip install 'mars-runtime[minilm]'").save_file
    pytest.importorskip("tokenizers", reason="pip install 'mars-runtime[minilm]'")
    config = {"model_type": "bert", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "layer_norm_eps": 1e-12}
    config |= {"num_attention_heads": HEADS, "max_position_embeddings": 16}
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    (path / "vocab.txt").write_text("\n".join(WORDS))
    save_file(weights or _weights(), str(path / "model.safetensors"))
    return path


def _plainly(ids: list[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """BERT's forward pass for one text, token by token and head by head, in float64."""
    weights = {name: value.astype(np.float64) for name, value in _weights().items()}
    erf = np.vectorize(__import__("math").erf)

    def norm(values: Any, name: str) -> Any:
        centred = values - values.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(values.var(axis=-1, keepdims=True) + 1e-12)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def dense(values: Any, name: str) -> Any:
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    hidden = weights["embeddings.word_embeddings.weight"][ids]
    hidden = hidden + weights["embeddings.position_embeddings.weight"][: len(ids)]
    hidden = norm(hidden + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        name, size = f"encoder.layer.{layer}", HIDDEN // HEADS
        query, key, value = (dense(hidden, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = np.zeros_like(hidden)
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            for token in range(len(ids)):
                scores = np.exp(key[:, part] @ query[token, part] / size**0.5)
                mixed[token, part] = scores / scores.sum() @ value[:, part]
        hidden = norm(hidden + dense(mixed, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        wide = dense(hidden, f"{name}.intermediate.dense")
        wide = wide * 0.5 * (1.0 + erf(wide / 2**0.5))
        hidden = norm(hidden + dense(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    pooled = hidden.mean(axis=0)
    return np.asarray(pooled / np.linalg.norm(pooled))


def test_minilm_equals_a_plain_forward_pass(tmp_path: Path) -> None:
    """A folder's vectors are those of BERT with mean pooling, computed by hand, alone and in a padded batch."""
    embedder = MiniLMEmbedder(_folder(tmp_path / "weights"))
    texts = ["Ann walks her dogs", "dog", "in Rome, Ann walks"]
    ids = [[2, 5, 6, 7, 8, 9, 3], [2, 8, 3], [2, 10, 11, 1, 5, 6, 3]]
    together = embedder.embed(texts)
    for row, text in enumerate(texts):
        assert together[row] == pytest.approx(_plainly(ids[row]), abs=2e-5)
        assert embedder.embed([text])[0] == pytest.approx(together[row], abs=1e-5)
    assert embedder.embed([]).shape == (0, HIDDEN)
    assert (embedder.dimension, embedder.lexical_weight) == (HIDDEN, 0.5)


def test_minilm_tokenizer_files(tmp_path: Path) -> None:
    """`tokenizer.json` gives the same vectors as the vocabulary it was made of; a broken one is an error."""
    folder = _folder(tmp_path / "weights")
    expected = MiniLMEmbedder(folder).embed(["Ann walks her dogs"])
    tokenizers = pytest.importorskip("tokenizers")
    tokenizers.BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True).save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").unlink()
    assert MiniLMEmbedder(folder).embed(["Ann walks her dogs"]) == pytest.approx(expected)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidFile, match=r"tokenizer\.json"):
        MiniLMEmbedder(folder)


def test_minilm_long_text_and_id(tmp_path: Path) -> None:
    """Text beyond the positions is cut there; the id follows the weights' bytes, not the folder's name."""
    first = MiniLMEmbedder(_folder(tmp_path / "one"))
    assert first.embed(["dog " * 500]) == pytest.approx(first.embed(["dog " * 14]), abs=1e-5)
    assert first.id == MiniLMEmbedder(_folder(tmp_path / "two")).id
    assert first.id != MiniLMEmbedder(_folder(tmp_path / "three", _weights(1))).id


def test_minilm_bad_folders(tmp_path: Path) -> None:
    """A missing, foreign or broken file is an error that names it; NaN in the weights is one at the first text."""
    with pytest.raises(InvalidFile, match=r"config\.json"):
        MiniLMEmbedder(tmp_path)
    folder = _folder(tmp_path / "weights")
    weights = _weights()
    for lost in ("embeddings.word_embeddings.weight", f"encoder.layer.{LAYERS - 1}.output.dense.weight"):
        _folder(folder, {name: value for name, value in weights.items() if name != lost})
        with pytest.raises(InvalidFile, match="other weights"):
            MiniLMEmbedder(folder)
    weights["embeddings.LayerNorm.bias"][0] = np.nan
    _folder(folder, weights)
    with pytest.raises(InvalidVector, match="minilm"):
        MiniLMEmbedder(folder).embed(["dog"])
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InvalidFile, match="safetensors"):
        MiniLMEmbedder(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidFile, match=r"model\.onnx"):
        MiniLMEmbedder(folder)
    for config in ("{", "[]", '{"model_type": "gpt2"}'):
        (folder / "config.json").write_text(config)
        with pytest.raises(InvalidFile, match=r"config\.json"):
            MiniLMEmbedder(folder)


def _field(number: int, value: int | bytes) -> bytes:
    """One field of a protocol buffer: a varint, or bytes with their length."""

    def varint(rest: int) -> bytes:
        return bytes([rest]) if rest < 128 else bytes([rest & 127 | 128]) + varint(rest >> 7)

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def _tensor(name: bytes, element: int, *dims: bytes) -> bytes:
    shape = b"".join(_field(1, dim) for dim in dims)
    kind = _field(1, _field(1, element) + _field(2, shape))
    return _field(1, name) + _field(2, kind)


def test_minilm_onnx(tmp_path: Path) -> None:
    """A folder with `model.onnx` is run by onnxruntime: here a network that looks words up, averaged by MARS."""
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    folder = _folder(tmp_path / "weights")
    (folder / "model.safetensors").unlink()
    table = np.random.default_rng(3).standard_normal((len(WORDS), 4)).astype(np.float32)
    node = _field(1, b"table") + _field(1, b"input_ids") + _field(2, b"hidden") + _field(4, b"Gather")
    held = _field(1, len(WORDS)) + _field(1, 4) + _field(2, 1) + _field(8, b"table") + _field(9, table.tobytes())
    ids = _tensor(b"input_ids", 7, _field(2, b"n"), _field(2, b"l"))
    hidden = _tensor(b"hidden", 1, _field(2, b"n"), _field(2, b"l"), _field(1, 4))
    graph = _field(1, node) + _field(2, b"g") + _field(5, held) + _field(11, ids) + _field(12, hidden)
    (folder / "model.onnx").write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(2, 13)))
    embedder = MiniLMEmbedder(folder)
    mean = table[[2, 5, 8, 3]].mean(axis=0)
    assert embedder.embed(["ann dog"])[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    (folder / "model.onnx").write_bytes(b"no network")
    with pytest.raises(InvalidFile, match="onnxruntime"):
        MiniLMEmbedder(folder)
