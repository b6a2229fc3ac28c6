"""The tables of a run, by the conventions of `mars.memory.tables`, in the same database.

A checkpoint is one row with all of its channels, as the serializer wrote them: no row depends on another, so that
deleting and copying are safe. Its metadata is ASCII JSON text. Ids are text that compares by its bytes; LangGraph's
ids of checkpoints sort by time.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, Table, Text

from mars.memory.tables import NAMING, label, partial_index

__all__ = ["calls", "checkpoints", "conversations", "metadata", "spending", "tasks", "transcript", "turns", "writes"]

metadata = MetaData(naming_convention=NAMING)
"""The tables of a run, for migrations and for the test that compares the two."""

checkpoints = Table(
    "mars_checkpoints",
    metadata,
    Column("thread_id", label(), primary_key=True),
    Column("checkpoint_ns", label(), primary_key=True),
    Column("checkpoint_id", label(), primary_key=True),
    Column("parent_id", label()),
    Column("run_id", label()),
    Column("format", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("metadata", Text, nullable=False),
    partial_index("ix_mars_checkpoints_run", "run_id", where="run_id IS NOT NULL"),
)
"""One row per checkpoint; ``format`` and ``body`` are what the serializer returned."""

writes = Table(
    "mars_checkpoint_writes",
    metadata,
    Column("thread_id", label(), primary_key=True),
    Column("checkpoint_ns", label(), primary_key=True),
    Column("checkpoint_id", label(), primary_key=True),
    Column("task_id", label(), primary_key=True),
    Column("idx", Integer, primary_key=True, autoincrement=False),
    Column("task_path", label(), nullable=False),
    Column("channel", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""What a task wrote since a checkpoint; replayed in the order of ``task_path``, ``task_id``, ``idx``."""

calls = Table(
    "mars_calls",
    metadata,
    Column("conversation", label(), primary_key=True),
    Column("turn", label(), primary_key=True),
    Column("iteration", Integer, primary_key=True, autoincrement=False),
    Column("role", label(), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("held_tokens", BigInteger, nullable=False),
    Column("held_cost", Double, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost", Double),
    Column("latency", Double, nullable=False),
    sqlite_with_rowid=False,
)
"""One row per attempt of a call: the intent first, its outcome later. ``body`` is ASCII JSON text, ``cost`` is empty
where it is not known, ``latency`` is in seconds."""

spending = Table(
    "mars_spending",
    metadata,
    Column("scope", label(), primary_key=True),
    Column("name", label(), primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("tool_calls", BigInteger, nullable=False),
    Column("retries", BigInteger, nullable=False),
    Column("failures", BigInteger, nullable=False),
    Column("cancelled", BigInteger, nullable=False),
    Column("cached", BigInteger, nullable=False),
    Column("maybe_paid", BigInteger, nullable=False),
    Column("unpriced", BigInteger, nullable=False),
    Column("last_calls", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost", Double, nullable=False),
    Column("wall", Double, nullable=False),
    Column("working", Double, nullable=False),
    Column("held_calls", BigInteger, nullable=False),
    Column("held_tokens", BigInteger, nullable=False),
    Column("held_cost", Double, nullable=False),
    sqlite_with_rowid=False,
)
"""What a turn, a role, a conversation or a user has spent, and what is reserved for calls without an outcome."""

conversations = Table(
    "mars_conversations",
    metadata,
    Column("thread_id", label(), primary_key=True),
    Column("conversation", label(), nullable=False),
    Column("turns", BigInteger, nullable=False),
    Column("summary", Text, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("holder", label()),
    Column("held_until", BigInteger, nullable=False),
    Column("stop", BigInteger, nullable=False),
    Index("ix_mars_conversations_conversation", "conversation"),
    sqlite_with_rowid=False,
)
"""One row per conversation: how many turns were begun, the summary of those that left the window, and the lease.
``held_until`` is in milliseconds since 1970 by the database's clock, ``stop`` the token of the run asked to stop."""

turns = Table(
    "mars_turns",
    metadata,
    Column("thread_id", label(), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("turn", label(), nullable=False),
    Column("status", Text, nullable=False),
    Column("input", Text, nullable=False),
    Column("checkpoint_id", label()),
    Column("name", label()),
    partial_index("ix_mars_turns_unfinished", "thread_id", where="input <> ''"),
    sqlite_with_rowid=False,
)
"""One row per turn. ``input`` is its first state as JSON until it is finished, and empty then."""

transcript = Table(
    "mars_transcript",
    metadata,
    Column("thread_id", label(), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("speaker", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("said_at", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""What was said, word for word: one row per utterance, ``place`` within the turn ``number``; never changed."""

tasks = Table(
    "mars_tasks",
    metadata,
    Column("turn", label(), primary_key=True),
    Column("role", label(), primary_key=True),
    Column("agent", label(), nullable=False),
    Column("model", label(), nullable=False),
    Column("success", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""How a turn went for an agent with its model: one row per turn and role; ``success`` is 0 or 1."""

asks = Table(
    "mars_asks",
    metadata,
    Column("namespace", Text, nullable=False),
    Column("conversation", label(), primary_key=True),
    Column("turn", label(), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("tool", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("default_choice", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("decided_at", BigInteger),
    sqlite_with_rowid=False,
)
"""What a person was asked: one row per approval or question. ``decision`` is JSON, empty until one is taken."""
