"""What an agent acts in: a protocol of three members, how it is played, and a real SQL database.

`interfaces` is the protocol; a user's own environment takes some 50 lines (`examples/own_environment.py`). `playing`
plays one with the real runtime. `database` is any SQLite or PostgreSQL database as tools of an agent, `dbbench` the
database tasks of AgentBench, `textworld` the text adventures of TextWorld. Only an environment's `score` knows what is
right; nothing that an agent sees is of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.exports import lazy_exports

if TYPE_CHECKING:
    from mars.environments.database import Database, ResultVerifier
    from mars.environments.dbbench import DBBench, DBBenchTask, read_dbbench
    from mars.environments.interfaces import Discovering, Environment, Request, Score
    from mars.environments.playing import Played, Proposal, open_in, play

__all__ = [
    "DBBench",
    "DBBenchTask",
    "Database",
    "Discovering",
    "Environment",
    "Played",
    "Proposal",
    "Request",
    "ResultVerifier",
    "Score",
    "open_in",
    "play",
    "read_dbbench",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "mars.environments.database": ("Database", "ResultVerifier"),
        "mars.environments.dbbench": ("DBBench", "DBBenchTask", "read_dbbench"),
        "mars.environments.interfaces": ("Discovering", "Environment", "Request", "Score"),
        "mars.environments.playing": ("Played", "Proposal", "open_in", "play"),
    },
)
