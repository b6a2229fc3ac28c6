"""`mars demo`: 60 simulated days of one user, lived through the real runtime, with a table and a picture at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mars.cli.output import JsonFlag, database, output, run_async
from mars.errors import InvalidSetting, MissingExtra

if TYPE_CHECKING:
    from mars.simulation.story import Story

ABLATIONS = ("checker", "reflection", "memory", "decay")
"""What ``--without`` takes."""


def demo(
    seed: Annotated[int, typer.Option(help="Draws people, values, words and order.")] = 1,
    without: Annotated[
        list[str] | None,
        typer.Option(help=f"Switch something off: {', '.join(ABLATIONS)}. May be repeated.", metavar="NAME"),
    ] = None,
    facts: Annotated[
        Path | None, typer.Option(help="Your own people, topics and values; examples/facts.json shows how.")
    ] = None,
    db: Annotated[
        str | None,
        typer.Option("--db", help="Where to keep the memory: URL or SQLite file.", show_default="a temporary file"),
    ] = None,
    picture: Annotated[Path, typer.Option(help="Where to draw the forgetting curves.")] = Path("demo.png"),
    no_picture: Annotated[bool, typer.Option("--no-picture", help="Draw nothing.")] = False,
    json: JsonFlag = False,
) -> None:
    """Watch an agent remember, be checked, be corrected and forget: 60 days in a few seconds.

    Nothing is scripted: the seed draws a life, every turn runs through the real loop, and what happens is printed,
    failures included. No key and no network are needed; the built-in reader extracts, it is no language model.
    """
    import tempfile

    off = _switches(without or [])
    if not no_picture and picture.suffix.lower() != ".png":
        raise InvalidSetting(f"--picture takes a name that ends in .png; got {picture}")
    with tempfile.TemporaryDirectory(prefix="mars-demo-") as folder:
        url = database(db) if db is not None else f"sqlite:///{folder}/demo.db"
        story = run_async(_live, seed, off, facts, url, json)
    drawn, note = (None, "No picture was asked for.") if no_picture else _draw(story, picture)
    if json:
        from mars.simulation.report import report

        output.json(report(story, picture=str(drawn) if drawn else None))
    else:
        from mars.cli.demo_view import show_end

        show_end(output.results, story, note)


async def _live(seed: int, off: frozenset[str], facts: Path | None, url: str, quiet: bool) -> Story:
    from mars.cli.demo_view import Watcher, show_start
    from mars.simulation.facts_file import read_facts
    from mars.simulation.life import draw_life
    from mars.simulation.story import live

    if facts is None:
        life = draw_life(seed)
    else:
        own = read_facts(facts)
        life = draw_life(seed, own.facts, own.user, own.small_talk, own.start)
    if quiet:
        return await live(life, without=off, store=url)
    show_start(output.results, life, off)
    return await live(life, without=off, store=url, watch=Watcher(output.results, life))


def _switches(given: list[str]) -> frozenset[str]:
    """Return what is switched off; names may also be joined by commas. Raises `InvalidSetting` for an unknown one."""
    names = frozenset(name.strip() for item in given for name in item.split(",") if name.strip())
    unknown = sorted(names - set(ABLATIONS))
    if unknown:
        raise InvalidSetting(f"--without takes {', '.join(ABLATIONS)}; got {', '.join(unknown)}")
    return names


def _draw(story: Story, path: Path) -> tuple[Path | None, str]:
    """Draw the picture; without matplotlib say how to get it instead of failing."""
    from mars.simulation.picture import draw_picture

    if not story.traces:
        return None, "There is no picture: nothing was remembered."
    try:
        return draw_picture(story, path), f"The forgetting curves are in {path}"
    except MissingExtra as error:
        return None, str(error)
