"""An agent behind an HTTP API, by the blocking API: opened with the server, closed with it, used from its threads.

    pip install fastapi uvicorn
    python examples/fastapi_app.py    # MARS_DB names the memory
    curl localhost:8000/ask -H "Content-Type: application/json" -d '{"user": "ann", "text": "My cat is called Miso."}'

FastAPI runs a plain `def` in a worker thread, so many may ask at once and nobody blocks the event loop. For an answer
word by word, and the asynchronous API, see web_chat.py.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from mars import Mars
from mars.errors import InvalidInput
from mars.runtime import SyncMars


class Question(BaseModel):
    """Who says what."""

    user: str
    text: str


def create_app(url: str, **options: Any) -> FastAPI:
    """Return the application over a memory; `options` go to `Mars.open_sync`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, SyncMars]]:
        with Mars.open_sync(url, **options) as mars:  # an event loop runs here; the twin has one of its own
            yield {"mars": mars}

    app = FastAPI(lifespan=lifespan)

    @app.exception_handler(InvalidInput)
    def refuse(request: Request, error: InvalidInput) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=422)

    @app.post("/ask")
    def ask(question: Question, request: Request) -> dict[str, Any]:
        result = request.state.mars.run(question.text, user=question.user)
        return {"answer": result.answer, "approved": result.approved, "sources": [one.text for one in result.sources]}

    return app


if __name__ == "__main__":
    url = os.environ.get("MARS_DB", "sqlite:///mars.db")
    uvicorn.run(create_app(url), port=int(os.environ.get("PORT", "8000")))
