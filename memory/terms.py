"""What the lexical arm needs of a record's words, as one small blob that is stored beside the text.

A shard is filled from the blobs of its rows, without reading a text: no stemming, no dictionary, only arithmetic on
64-bit hashes of stemmed terms. What is not of the version that this code writes is read from the text instead, and
`mars memory repair` writes it anew. Two terms of 100,000 share a hash with a probability of 3e-10.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from hashlib import blake2b

from mars.language import STOP_WORDS, sentences, terms, words

__all__ = ["ASKS", "EMPTY", "HEAD_WORDS", "SPOKEN", "VERSION", "Head", "encode", "hashes", "head", "term_hash"]

VERSION = 1
"""The first byte of every blob: another one where `mars.language.terms`, sentences or the layout differ."""

HEAD_WORDS = 2
"""The head is as long as so many hashes."""

ASKS, SPOKEN = 1, 2
"""Bits of the second byte: the text ends in a question; somebody said it."""

_HEAD = struct.Struct("<BBHIQ")
_MOST_NAMES = 0xFFFF
_WORD = 8

Head = tuple[int, int, int, int, int]
"""Version, bits, words of the speaker's name, sentences that are questions, sentences; 0 where there is no ``?``."""


def term_hash(term: str) -> int:
    """Return the hash of a stemmed term, or of a word of a speaker's name: BLAKE2b, 64 bits."""
    return int.from_bytes(_hashed(term), "little")


def _hashed(term: str) -> bytes:
    return blake2b(term.encode("utf-8", "surrogatepass"), digest_size=_WORD).digest()


@lru_cache(maxsize=1 << 14)
def _piece(piece: str) -> bytes:
    """Return the hashes of the terms of what stands between white space; no term spans that."""
    return b"".join(map(_hashed, terms(piece)))


@lru_cache(maxsize=1 << 10)
def _name(name: str) -> bytes:
    """Return the hashes of the words of a speaker's name, lower-cased, as a question would use them."""
    spoken = [word for word in words(name) if word not in STOP_WORDS]
    return b"".join(map(_hashed, dict.fromkeys(spoken[:_MOST_NAMES])))


def encode(text: str, speaker: str | None = None) -> bytes:
    """Return the blob of a record: the head, the words of the speaker's name, then each term of name and text.

    Every part is little-endian; the hashes are 8 bytes each, a term as often as it occurs.
    """
    asked = said = bits = 0
    if "?" in text:
        marks = [sentence.rstrip("\"')]*_~ \u201d\u2019").endswith("?") for sentence in sentences(text)]
        asked, said = sum(marks), len(marks)
        bits = ASKS if marks and marks[-1] else 0
    body = b"".join(map(_piece, text.split()))
    if not speaker:
        return _HEAD.pack(VERSION, bits, 0, asked, said) + body
    name = _name(speaker)
    head = _HEAD.pack(VERSION, bits | SPOKEN, len(name) // _WORD, asked, said)
    return b"".join((head, name, *map(_piece, speaker.split()), body))


EMPTY = encode("")
"""The blob of a record without words."""


def head(blob: bytes) -> Head:
    """Return the fields of a blob's head."""
    return _HEAD.unpack_from(blob)


def hashes(blob: bytes) -> tuple[list[int], list[int]]:
    """Return the hashes of the words of the speaker's name, and of the terms in their order."""
    found = struct.unpack(f"<{len(blob) // _WORD}Q", blob)
    start = HEAD_WORDS + head(blob)[2]
    return list(found[HEAD_WORDS:start]), list(found[start:])
