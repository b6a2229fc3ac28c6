"""What values must be before they come near a database; each check returns its value or raises by remedy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType, UnionType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mars.errors import InvalidInput, InvalidNamespace, InvalidSetting, InvalidText, InvalidTime, InvalidVector
from mars.memory.json_pieces import encoded

Namespace = tuple[str, ...]
"""A tuple of labels that a record belongs to: ``("user-1",)``, ``("team", "ann")``. Never empty."""

Vector = npt.NDArray[np.float32]
"""One embedding (shape ``[d]``) or a batch of them (shape ``[n, d]``), float32."""

Choice = TypeVar("Choice", bound=StrEnum)

MAX_TEXT = 4 * 1024 * 1024
"""The most characters that one record's text may have."""

MAX_LABEL = 1024
"""The most bytes of UTF-8 that a key, a conversation, a speaker or another label may have."""

MAX_NAMESPACE = 1500
"""The most bytes of a namespace that something is stored in, written as JSON: with one label it fits an index row."""

MAX_MATTER = 1024
"""The most bytes of UTF-8 that a fact's subject, without case, and its relation may have together."""

MAX_INTEGER = 1 << 53
"""The largest integer that every database and every float hold exactly."""

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def check_namespace(namespace: object) -> Namespace:
    """Return `namespace` if it is a non-empty tuple of non-empty strings, else raise `InvalidNamespace`."""
    if (
        not isinstance(namespace, tuple)
        or not namespace
        or not all(isinstance(label, str) and label and storable(label) for label in namespace)
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
    if not isinstance(text, str):
        raise InvalidText(f"the {name} must be a string; got {shown(text)}")
    if not text.strip():
        raise InvalidText(f"the {name} is empty: give at least one character that is not blank")
    if len(text) > MAX_TEXT:
        raise InvalidText(
            f"{name} has {len(text):,} characters; the most is {MAX_TEXT:,}: split it into several records"
        )
    if not storable(text):
        raise InvalidText(f"{name} holds a NUL or a lone surrogate, which no database stores; clean it first")
    return text


def check_label(label: object, name: str) -> str | None:
    """Return `label` if it is None or a string that every database stores, else raise `InvalidText`."""
    if label is None:
        return None
    if not isinstance(label, str) or not storable(label) or len(label.encode()) > MAX_LABEL:
        raise InvalidText(
            f"{name} must be a string of at most {MAX_LABEL:,} bytes of UTF-8, without NUL or lone surrogates"
        )
    return label


def check_room(namespace: Namespace) -> Namespace:
    """Return a checked namespace if every database can index what is stored in it, else raise `InvalidNamespace`."""
    if len(json.dumps(namespace, separators=(",", ":"))) > MAX_NAMESPACE:
        raise InvalidNamespace(f"a namespace has at most {MAX_NAMESPACE:,} bytes as JSON; shorten its labels")
    return namespace


def matter_fits(subject: str, relation: str) -> bool:
    """Tell whether every database can index a fact by its subject and relation."""
    return len(subject.casefold().encode()) + len(relation.encode()) <= MAX_MATTER


def check_matter(subject: str, relation: str) -> None:
    """Raise `InvalidText` for a subject and a relation that are too long together."""
    if not matter_fits(subject, relation):
        raise InvalidText(f"subject and relation have together at most {MAX_MATTER:,} bytes of UTF-8; shorten them")


def choice(value: object, choices: type[Choice], name: str) -> Choice:
    """Return the member that a value names; raise `InvalidInput`, which names them all, if it names none."""
    if isinstance(value, choices):
        return value
    try:
        return choices(str(value))
    except ValueError:
        raise InvalidInput(f"{name} must be one of {', '.join(choices)}; got {shown(value)}") from None


def check_kind(value: object, kind: type | UnionType, name: str, what: str) -> None:
    """Raise `InvalidSetting` where a value is not of its kind; `what` says what to give instead."""
    if not isinstance(value, kind):
        raise InvalidSetting(f"{name} must be {what}; got {shown(value)}")


def check_flag(value: object, name: str) -> bool:
    """Return `value` if it is True or False, else raise `InvalidSetting`."""
    if not isinstance(value, bool):
        raise InvalidSetting(f"{name} must be True or False; got {shown(value)}")
    return value


def check_integer(value: object, name: str) -> int | None:
    """Return `value` if it is None or a whole number from 0 to 2^53, else raise `InvalidInput`."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER):
        return value
    raise InvalidInput(f"{name} must be a whole number from 0 to 2^53; got {shown(value)}")


def shown(value: object) -> str:
    """Return a value as an error shows it: short, and whatever it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits, or a value within itself
        return f"a {type(value).__name__} that is too large to show"
    return text if len(text) <= 200 else f"{text[:200]}…"


def check_json(values: Mapping[str, Any], name: str = "metadata") -> Mapping[str, Any]:
    """Return `values` if they are JSON values under string keys, else raise `InvalidInput` (NaN, objects, bytes, …)."""
    try:
        if not all(isinstance(key, str) for key in values):
            raise TypeError("a key is not a string")
        encoded(dict(values), _ENCODER.encode)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{name} must hold JSON values only: {error}") from error
    return values


def check_vector(vector: object, dimension: int | None = None) -> Vector:
    """Return `vector` as float32 of shape ``[d]``, or raise `InvalidVector`: NaN, infinity, or another dimension."""
    if type(vector) is np.ndarray and vector.dtype == np.float32 and vector.flags.c_contiguous:
        values: Vector = vector
    else:
        values = _floats(vector)
    if values.ndim != 1 or values.size == 0 or (dimension is not None and values.size != dimension):
        raise InvalidVector(f"an embedding here has shape [{dimension or 'd'}]; got {list(values.shape)}")
    if not math.isfinite(values.dot(values)) and not np.isfinite(values).all():
        raise InvalidVector("an embedding holds NaN or infinity; check the embedder that made it")
    return values


def _floats(vector: object) -> Vector:
    try:
        return np.ascontiguousarray(np.asarray(vector, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise InvalidVector(f"an embedding is a row of numbers; got {type(vector).__name__}") from error


def storable(text: str) -> bool:
    """Tell whether every database stores a text: it holds no NUL and no lone surrogate."""
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
