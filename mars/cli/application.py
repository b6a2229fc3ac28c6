"""The Typer application: commands by name, imported when they are called."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from mars.cli import COMMANDS
from mars.cli.output import output
from mars.errors import MarsError

FAILED = 2
"""Exit code for the user's mistakes and the store's errors, as for wrong options."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class LazyGroup(TyperGroup):
    """Commands that are imported when they are called or listed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return a command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name)
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; an unknown one gets a hint at the nearest, which needs all of them."""
        if args and args[0] not in COMMANDS:
            for name in COMMANDS:
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)


def application() -> typer.Typer:
    """Return the application."""
    app = typer.Typer(
        name="mars",
        cls=LazyGroup,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="An agent that remembers, is checked, and gets better.",
    )

    @app.callback()
    def root(
        version: bool = typer.Option(False, "--version", help="Show the version and exit.", callback=_version),
    ) -> None:
        pass

    return app


def run(arguments: list[str]) -> int:
    """Run the application; return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows "?" instead of failing
    try:
        command = typer.main.get_command(application())
        result = command.main(args=arguments, prog_name="mars", standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except MarsError as error:
        output.error(str(error))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return int(result or 0)


def _load(name: str) -> Any:
    module, _, attribute = COMMANDS[name].partition(":")
    target = getattr(import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        wrapped = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
        wrapped.command(name)(target)
        target = wrapped
    command = typer.main.get_command(target)
    command.name = name
    return command


def _version(asked: bool) -> None:
    if asked:
        from mars import __version__

        typer.echo(f"mars {__version__}")
        raise typer.Exit
