"""Settings from the environment: what the command line uses where an option is not given."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from mars.errors import InvalidSetting

DEFAULT_DB = "sqlite:///mars.db"
"""Where memory lives if nobody says otherwise: a file in the current folder."""


class Settings(BaseSettings):
    """Each field is read from an environment variable: ``MARS_`` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="MARS_", frozen=True)

    db: str = Field(default=DEFAULT_DB, min_length=1)
    """``MARS_DB``: URL of the memory, ``sqlite:///…`` or ``postgresql://…``, or the path of a SQLite file."""
    namespace: str | None = None
    """``MARS_NAMESPACE``: whose memory, such as ``user-1`` or ``team/ann``."""
    embedder: str | None = None
    """``MARS_EMBEDDER``: a folder with MiniLM-class weights; ``hashing``, built in and keyless, if unset."""
    preset: str = "default"
    """``MARS_PRESET``: how memory forgets: default, paper, memorybank, generative-agents, or a TOML file."""
    model: str | None = None
    """``MARS_MODEL``: a model string such as ``ollama:llama3``; the built-in reader if unset."""
    run_log: str | None = None
    """``MARS_RUN_LOG``: a file that ask, chat, resume and the served graph log their runs in; nowhere if unset."""
    synchronous: Literal["normal", "full"] = "normal"
    """``MARS_SYNCHRONOUS``: what an acknowledged write on SQLite survives: a killed process, or power loss (full)."""


def load_settings() -> Settings:
    """Return the settings of this environment; raises `InvalidSetting` naming the variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = "_".join(str(part) for part in ("MARS", *first["loc"])).upper()
        raise InvalidSetting(f"the environment variable {name} is not usable: {first['msg']}") from None
