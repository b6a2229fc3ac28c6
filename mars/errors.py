"""Every error that MARS raises, by what helps against it.

```
MarsError
├── InvalidInput            the caller's mistake, refused before anything is written
│   ├── InvalidNamespace    a namespace that is empty, not a tuple of labels, or unknown
│   ├── InvalidTime         a naive datetime, or one that is no point in time
│   ├── InvalidVector       NaN, infinity, or a wrong dimension
│   ├── InvalidText         empty text, or text beyond the size limit
│   ├── InvalidSetting      a setting outside its range
│   └── InvalidFile         a file that is missing or cannot be read as its format
├── NotFound                no record, history or run has this id
│   └── HistoryPruned       it is known, but nothing is kept of it but the words
├── StoreError              the database or the index
│   ├── StoreClosed         used before it was opened or after it was closed
│   ├── StoreReadOnly       the database cannot be written
│   ├── StoreFull           no space is left for the database
│   ├── StoreUnavailable    the database cannot be reached, or is locked by somebody else
│   ├── StoreCorrupt        the file is no database, or a damaged one
│   ├── SchemaMismatch      the database's schema is unknown, older or newer than this code
│   └── EmbedderMismatch    the store's vectors come from another embedder
├── ModelError              the model misbehaves or cannot be reached
│   ├── ModelUnavailable    no such model, or the extra that brings it is missing
│   ├── ModelOutputError    what the model returned is of no use
│   └── CallFailed          a call failed in an earlier process, and its error is on record
├── BudgetExhausted         a call was not made: a budget has no room for it; a run ends early by it and does not raise
├── ConversationError       a conversation that cannot take the turn
│   ├── ConversationBusy    another run is writing to it
│   ├── TurnUnfinished      its last turn is half done: resume it first
│   ├── ConversationExists  there is one of this name already
│   ├── LeaseLost           another run has taken over; the write was refused
│   └── StateMismatch       the saved state is of a version that this code cannot go on with
├── EpisodeLost             every process that played an episode of a simulation died
├── NotOpen                 a blocking twin that is not open, open twice, or was opened in the parent of this process
├── MissingExtra            an optional dependency is not installed
├── InvalidUpdate           a node of the graph returned what the state has no place for
└── ScriptError             a double of mars.testing was used otherwise than its script says
    └── CassetteMismatch    a cassette holds no such request
```

Each message names what was wrong and the command, setting or argument that helps.
"""

from __future__ import annotations


class MarsError(Exception):
    """The root of all errors of MARS."""


class InvalidInput(MarsError, ValueError):
    """The caller's mistake; nothing was written."""


class InvalidNamespace(InvalidInput):
    """A namespace is a non-empty tuple of non-empty strings, and must be known where one is read by name."""


class InvalidTime(InvalidInput):
    """A datetime without a time zone, or a number that is no point in time."""


class InvalidVector(InvalidInput):
    """A vector with NaN or infinity, or of a dimension other than the store's."""


class InvalidText(InvalidInput):
    """Empty text, or text that is longer than the store takes."""


class InvalidSetting(InvalidInput):
    """A setting or parameter outside its range."""


class InvalidFile(InvalidInput):
    """A file that is missing, unreadable, or not in the format that was named."""


class NotFound(MarsError, LookupError):
    """Nothing has this id."""


class HistoryPruned(NotFound):
    """Nothing is kept of a turn but its words."""


class StoreError(MarsError):
    """The database or the index behind the memory."""


class StoreClosed(StoreError):
    """The store was used before it was opened or after it was closed."""


class StoreReadOnly(StoreError):
    """The database cannot be written."""


class StoreFull(StoreError):
    """No space is left for the database; what was acknowledged is intact."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, or stays locked by somebody else."""


class StoreCorrupt(StoreError):
    """The file is no database, or a damaged one."""


class SchemaMismatch(StoreError):
    """The database's schema is unknown to this code, or newer than it."""


class EmbedderMismatch(StoreError):
    """The store's vectors were made by another embedder."""


class ModelError(MarsError):
    """A model misbehaves or cannot be reached."""


class ModelUnavailable(ModelError):
    """There is no such model here; the message names the extra or the spelling that helps."""


class ModelOutputError(ModelError):
    """What the model returned is of no use, also after a repair was asked for."""


class ConversationError(MarsError):
    """A conversation cannot take the turn."""


class ConversationBusy(ConversationError):
    """Another run is writing to the conversation."""


class TurnUnfinished(ConversationError):
    """The conversation's last turn is half done; the message names how to go on."""


class ConversationExists(ConversationError):
    """There is a conversation of this name already, and none is written over."""


class LeaseLost(ConversationError):
    """Another run has taken the conversation over, so a write was refused."""


class StateMismatch(ConversationError):
    """The saved state is of a version that this code cannot go on with."""


class CallFailed(ModelError):
    """A call failed before this process resumed its turn; the message is the error's type and words."""


class BudgetExhausted(MarsError):
    """A call was not made because a budget has no room for it."""


class EpisodeLost(MarsError):
    """Every process that played an episode died; the other episodes' results are kept."""


class NotOpen(MarsError, RuntimeError):
    """A blocking twin is not open, is opened twice, or was opened before the fork, in the parent of this process."""


class MissingExtra(MarsError, ImportError):
    """An optional dependency is not installed; the message names the extra."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional dependency: pip install 'mars-runtime[{extra}]'")


class InvalidUpdate(MarsError):
    """A node returned what the state has no place for; a defect of the node, not of the caller."""


class ScriptError(MarsError, AssertionError):
    """A test double was asked for what its script does not hold."""


class CassetteMismatch(ScriptError):
    """A replayed cassette does not hold a request; the message shows the nearest one that it holds."""
