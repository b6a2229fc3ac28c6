"""How gunicorn runs gunicorn_app.py: loaded before the fork, opened after it, closed with the worker."""

from __future__ import annotations

from typing import Any

import gunicorn_app  # type: ignore[import-not-found]  # gunicorn runs where it is

bind = "127.0.0.1:8000"
workers = 2
threads = 4
preload_app = True


def post_fork(server: Any, worker: Any) -> None:
    """Open the memory in the worker."""
    gunicorn_app.mars.open()


def worker_exit(server: Any, worker: Any) -> None:
    """Close it; what was in progress is saved, and resumable."""
    gunicorn_app.mars.close()
