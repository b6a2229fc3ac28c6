"""A server that answers as model providers do, from a script."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from itertools import count, islice
from types import TracebackType
from typing import Self

from mars.errors import InvalidInput, ScriptError
from mars.testing.providers.anthropic import Messages
from mars.testing.providers.http import JSON, Request, Response, read_request
from mars.testing.providers.ollama import Chat
from mars.testing.providers.openai import ChatCompletions, Responses
from mars.testing.providers.wire import Fault, FaultKind, Received, Said, Wire
from mars.testing.scripted import Step

Answer = Step | Fault | str
"""What a server does with one request; text is a step that says it."""

Plan = Sequence[Answer] | Callable[[Received], Answer]
"""Answers in order, or a function of the request."""

WIRES: dict[str, Wire] = {wire.path: wire for wire in (ChatCompletions(), Responses(), Messages(), Chat())}
"""Every format, by the path of its requests."""

PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
"""What a proxy says to people."""

_numbers = count(1)


class _Gone(Exception):
    """The connection is to be ended at once."""


class ProviderServer:
    """An HTTP server on 127.0.0.1 that speaks the formats of OpenAI, Anthropic and Ollama, for a `with` statement.

    `plan` holds the answers in order, whatever the provider: `Step` or text, and `Fault`; or it is a function from what
    was `Received` to one of these. ``Step.error`` is not for a server. A request beyond the plan's end gets status 400,
    which no client tries again, and raises `ScriptError` when the server is closed; so does `assert_finished` while
    answers are left. The server has a thread and an event loop of its own, so that blocking clients can call it, too.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan if callable(plan) else tuple(plan)
        self.received: list[Received] = []
        """Every request so far, oldest first."""
        self.left: list[Received] = []
        """The requests whose client went away before the answer was whole."""
        self.url = ""
        """Where it listens: the base URL of Anthropic's and Ollama's clients."""
        self._mark = f"server-{next(_numbers)}"  # clients share connections by URL, and a port may come again
        self._stray: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing: asyncio.Event | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def openai_url(self) -> str:
        """Base URL of OpenAI's client."""
        return f"{self.url}/v1"

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name="mars-provider", daemon=True
        )
        self._thread.start()
        ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._closing is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()
        if self._stray and error is None:
            raise ScriptError(self._stray[0])

    def assert_finished(self) -> None:
        """Raise `ScriptError` if answers of the plan were never asked for."""
        if not callable(self._plan) and len(self.received) < len(self._plan):
            left = len(self._plan) - len(self.received)
            raise ScriptError(f"{left} of {len(self._plan)} planned answers were never asked for")

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{self._mark}"
        ready.set()
        await self._closing.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        response = Response(writer)
        try:
            request = await read_request(reader)
            if request is not None:
                await self._answer(request, reader, response)
        except InvalidInput as error:
            await response.send(400, str(error).encode(), kind="text/plain")
        except (_Gone, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()  # a broken connection is part of the plan, and closing ends those that wait
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, response: Response) -> None:
        wire = WIRES.get(request.path.removeprefix(f"/{self._mark}"))
        if wire is None or request.method != "POST":
            await response.send(404, json.dumps({"error": f"no such path: {request.path}"}).encode())
            return
        try:
            received = _read(wire, request)
        except (InvalidInput, KeyError, TypeError, AttributeError) as error:
            await response.send(400, json.dumps(wire.error(400, f"{type(error).__name__}: {error}")).encode())
            return
        self.received.append(received)
        number = len(self.received)
        answer = self._next(received, number)
        if answer is None:
            await response.send(400, json.dumps(wire.error(400, self._stray[-1])).encode())
            return
        work = asyncio.ensure_future(_give(answer, wire, received, number, response))
        gone = asyncio.ensure_future(reader.read(1))  # a client sends nothing more: this ends when it leaves
        try:
            await asyncio.wait([work, gone], return_when=asyncio.FIRST_COMPLETED)
            if not work.done() or isinstance(work.exception(), ConnectionError):  # or it left while it was written to
                self.left.append(received)
                raise _Gone
            await work
        finally:
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    def _next(self, received: Received, number: int) -> Answer | None:
        """Return the answer to a request; None, and a reason for `ScriptError`, where there is none."""
        if callable(self._plan):
            try:
                return self._plan(received)
            except Exception as error:  # noqa: BLE001 - the test that planned it is told when the server is closed
                self._stray.append(f"the plan raised {type(error).__name__}: {error}")
                return None
        answer = self._plan[number - 1] if number <= len(self._plan) else None
        if answer is None:
            self._stray.append(f"the plan's answers are used up; request {number}, to {received.path}, has none")
        elif isinstance(answer, Step) and answer.error is not None:
            self._stray.append("a server cannot raise Step.error: plan a Fault instead")
            return None
        return answer


async def _give(answer: Answer, wire: Wire, received: Received, number: int, response: Response) -> None:
    if isinstance(answer, Fault):
        await _fail(answer, wire, received, number, response)
        return
    step = Step(text=answer) if isinstance(answer, str) else answer
    await asyncio.sleep(step.delay)
    said = Said.of(step, received, number)
    if not received.streams:
        await response.send(200, json.dumps(wire.whole(said, received)).encode())
        return
    await response.begin(wire.stream_type)
    for piece in wire.pieces(said, received):
        await response.chunk(piece)
    await response.end()


def _read(wire: Wire, request: Request) -> Received:
    body = request.json()
    retried = request.headers.get("x-stainless-retry-count", "0")
    return Received(
        path=request.path,
        body=body,
        at=time.monotonic(),
        retried=int(retried) if retried.isdigit() else 0,
        **wire.read(body),
    )


async def _fail(fault: Fault, wire: Wire, received: Received, number: int, response: Response) -> None:
    """Do what a fault says."""
    kind = fault.kind
    if kind is FaultKind.STATUS or (kind is FaultKind.ERROR_IN_STREAM and not received.streams):
        body = json.dumps(wire.error(fault.status, fault.message)).encode()
        await response.send(fault.status, body, fault.headers)
    elif kind is FaultKind.DROPPED:
        raise _Gone
    elif kind is FaultKind.SILENT:
        await asyncio.Event().wait()
    elif kind is FaultKind.NOT_JSON:
        await response.send(200, PAGE, kind="text/html")
    elif kind is FaultKind.EMPTY:
        await response.send(200, b"", kind=wire.stream_type if received.streams else JSON)
    elif received.streams:
        await _fail_in_stream(fault, wire, received, number, response)
    else:
        await _fail_in_whole(fault, wire, received, number, response)


async def _fail_in_stream(fault: Fault, wire: Wire, received: Received, number: int, response: Response) -> None:
    said = Said.of(Step(text=fault.text), received, number)
    pieces = list(wire.pieces(said, received))
    second = json.dumps(list(said.words)[1]).encode()
    spoken = next(place for place, piece in enumerate(pieces) if second in piece) + 1
    await response.begin(wire.stream_type)
    for piece in islice(pieces, spoken):
        await response.chunk(piece)
    if fault.kind is FaultKind.STALLED:
        await asyncio.Event().wait()
    elif fault.kind is FaultKind.MALFORMED:
        await response.chunk(pieces[spoken].replace(b'"', b"", 1))
    elif fault.kind is FaultKind.ERROR_IN_STREAM:
        await response.chunk(wire.stream_error(fault.message))
    elif fault.kind is FaultKind.TRUNCATED:
        raise _Gone
    await response.end()


async def _fail_in_whole(fault: Fault, wire: Wire, received: Received, number: int, response: Response) -> None:
    body = json.dumps(wire.whole(Said.of(Step(text=fault.text), received, number), received)).encode()
    if fault.kind is FaultKind.MALFORMED:
        await response.send(200, body[: len(body) // 2])
        return
    await response.send(200, body, part=len(body) // 2)
    if fault.kind is FaultKind.STALLED:
        await asyncio.Event().wait()
    raise _Gone
