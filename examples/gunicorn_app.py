"""An agent in gunicorn: the code is loaded once and forked; each worker opens Mars after the fork, on one memory.

    pip install gunicorn
    cd examples; gunicorn -c gunicorn_conf.py gunicorn_app:application
    curl localhost:8000/ann -d "My sister Ana lives in Porto."; curl localhost:8000/ann -d "Where does Ana live?"

A WSGI application without a framework; Flask and Django look the same. The answer is streamed as server-sent events.
What `open_sync` opened in the parent has its threads there: in a worker it refuses with `NotOpen`, which says so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from mars import Mars, MarsError
from mars.events import Preview
from mars.runtime import SyncMars

mars: SyncMars = Mars.open_sync(os.environ.get("MARS_DB", "sqlite:///mars.db"))  # not open yet: gunicorn_conf.py


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """Answer what was posted, for the user that the path names."""
    text = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode(errors="replace")
    start_response("200 OK", [("Content-Type", "text/event-stream"), ("X-Worker", str(os.getpid()))])
    seen = Preview()
    try:
        for event in mars.stream(text, user=environ["PATH_INFO"].strip("/") or "me"):
            if seen.add(event):
                yield f"data: {json.dumps({'text': seen.text, 'final': seen.final})}\n\n".encode()
    except MarsError as error:
        yield f"data: {json.dumps({'error': str(error), 'final': True})}\n\n".encode()
