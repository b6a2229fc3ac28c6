"""What values must be before they come near a database; each check returns its value or raises by remedy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from mars.errors import InvalidInput, InvalidNamespace, InvalidSetting, InvalidText, InvalidTime, InvalidVector

Namespace = tuple[str, ...]
"""A tuple of labels that a record belongs to: ``("user-1",)``, ``("team", "ann")``. Never empty."""

Vector = npt.NDArray[np.float32]
"""One embedding (shape ``[d]``) or a batch of them (shape ``[n, d]``), float32."""

MAX_TEXT = 4 * 1024 * 1024
"""The most characters that one record's text may have."""

MAX_LABEL = 1024
"""The most characters that a key, a conversation, a speaker or another label may have."""


def check_namespace(namespace: object) -> Namespace:
    """Return `namespace` if it is a non-empty tuple of non-empty strings, else raise `InvalidNamespace`."""
    if (
        not isinstance(namespace, tuple)
        or not namespace
        or not all(isinstance(label, str) and label and _storable(label) for label in namespace)
    ):
        raise InvalidNamespace(
            f"a namespace is a non-empty tuple of non-empty strings, such as ('user-1',); got {namespace!r}"
        )
    return namespace


def check_time(moment: object, name: str = "now") -> datetime:
    """Return `moment` in UTC, or raise `InvalidTime` for a naive datetime or anything else."""
    if not isinstance(moment, datetime):
        raise InvalidTime(f"{name} must be a datetime with a time zone; got {moment!r}")
    if moment.utcoffset() is None:
        raise InvalidTime(f"{name} has no time zone: {moment!r}; write {name}=….replace(tzinfo=timezone.utc)")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise InvalidTime(f"{name} is out of range: {moment!r}") from error


def check_text(text: object, name: str = "text") -> str:
    """Return `text` if it is usable, else raise `InvalidText`: empty, only blanks, NUL, lone surrogates, too long."""
    if not isinstance(text, str) or not text.strip():
        raise InvalidText(f"{name} is empty; a record needs at least one character that is not blank")
    if len(text) > MAX_TEXT:
        raise InvalidText(
            f"{name} has {len(text):,} characters; the most is {MAX_TEXT:,}: split it into several records"
        )
    if not _storable(text):
        raise InvalidText(f"{name} holds a NUL or a lone surrogate, which no database stores; clean it first")
    return text


def check_label(label: object, name: str) -> str | None:
    """Return `label` if it is None or a string that every database stores, else raise `InvalidText`."""
    if label is None:
        return None
    if not isinstance(label, str) or len(label) > MAX_LABEL or not _storable(label):
        raise InvalidText(
            f"{name} must be a string of at most {MAX_LABEL:,} characters, without NUL or lone surrogates"
        )
    return label


def check_json(values: Mapping[str, Any], name: str = "metadata") -> Mapping[str, Any]:
    """Return `values` if they are JSON values under string keys, else raise `InvalidInput` (NaN, objects, bytes, …)."""
    try:
        if not all(isinstance(key, str) for key in values):
            raise TypeError("a key is not a string")
        json.dumps(dict(values), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{name} must hold JSON values only: {error}") from error
    return values


def check_vector(vector: object, dimension: int | None = None) -> Vector:
    """Return `vector` as float32 of shape ``[d]``, or raise `InvalidVector`: NaN, infinity, or another dimension."""
    try:
        values = np.ascontiguousarray(np.asarray(vector, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise InvalidVector(f"an embedding is a row of numbers; got {type(vector).__name__}") from error
    if values.ndim != 1 or values.size == 0 or (dimension is not None and values.size != dimension):
        raise InvalidVector(f"an embedding here has shape [{dimension or 'd'}]; got {list(values.shape)}")
    if not math.isfinite(values.dot(values)) and not np.isfinite(values).all():
        raise InvalidVector("an embedding holds NaN or infinity; check the embedder that made it")
    return values


def _storable(text: str) -> bool:
    if text.isascii():
        return "\x00" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def check_share(value: object, name: str) -> float:
    """Return `value` as a float in [0, 1], or raise `InvalidSetting`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise InvalidSetting(f"{name} must lie in [0, 1]; got {value!r}")
    return float(value)


def frozen_mapping(values: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return a read-only copy of `values`."""
    return MappingProxyType(dict(values or {}))
