"""A chat in the browser: words appear as they come, and what it asks you becomes buttons.

    pip install fastapi uvicorn
    python examples/web_chat.py    # http://127.0.0.1:8000; MARS_DB names the memory, MARS_MODEL a language model

A turn outlives its connection. Each message has a key, and a key has one turn: after a lost connection, a closed tab or
a restart of the server the page asks again, and gets the rest. There is one user, whoever opens the page; for more, put
your login in front and its name in the place of ME. The page shows what it is told as text, never as markup.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel

from mars import Event, Mars, MarsError
from mars.events import Preview
from mars.people import ask_user

PAGE = Path(__file__).with_name("web_chat.html")
ME = "me"


class Message(BaseModel):
    """What the user says, under a key of its own."""

    text: str
    key: str


async def shown(events: AsyncGenerator[Event, None]) -> AsyncIterator[dict[str, Any]]:
    """Yield what the page shows of a turn: the text as it is by now; at the end sources, or what to decide first."""
    seen = Preview()
    try:
        async with aclosing(events):
            async for event in events:
                if seen.add(event):
                    yield {"text": seen.text, "final": seen.final, **event.data}
    except MarsError as error:
        yield {"error": str(error), "final": True}


def create_app(url: str, **options: Any) -> FastAPI:
    """Return the application over a memory; `options` go to `Mars.open`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Mars]]:
        async with Mars.open(url, **options) as mars:
            yield {"mars": mars}

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(PAGE)

    @app.get("/talks/{talk}")
    async def so_far(talk: str, request: Request) -> dict[str, Any]:
        mars: Mars = request.state.mars
        found = next((one for one in await mars.conversations() if one.name == talk), None)
        said = await mars.transcript(talk) if found else []
        return {"said": [(one.source, one.text) for one in said], "unfinished": found and found.task}

    @app.post("/talks/{talk}", response_class=EventSourceResponse)
    async def say(talk: str, message: Message, request: Request) -> AsyncIterator[dict[str, Any]]:
        how: Any = {"key": message.key, "on_busy": "queue", "on_unfinished": "finish"}
        async for each in shown(request.state.mars.stream(message.text, user=ME, conversation=talk, **how)):
            yield each

    @app.post("/talks/{talk}/rest", response_class=EventSourceResponse)
    async def rest(talk: str, request: Request) -> AsyncIterator[dict[str, Any]]:
        async for each in shown(request.state.mars.stream_resume(talk, on_busy="queue")):
            yield each

    @app.post("/talks/{talk}/decision")
    async def decide(talk: str, decision: dict[str, Any], request: Request) -> None:
        try:
            await request.state.mars.decide(talk, {**decision, "by": ME})
        except MarsError as error:
            raise HTTPException(409, str(error)) from None

    return app


if __name__ == "__main__":
    url, model = os.environ.get("MARS_DB", "sqlite:///mars.db"), os.environ.get("MARS_MODEL")
    uvicorn.run(create_app(url, model=model, tools=[ask_user]), port=int(os.environ.get("PORT", "8000")))
