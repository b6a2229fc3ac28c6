"""Pages that hold all they need: one file, opened from a disk, that loads and runs nothing.

`page` puts a body into the frame that all pages share: its policy forbids scripts, fonts and requests, whatever stands
in the body. `text` is the only way in for words that somebody else wrote. `mars.pages.charts` draws.
"""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser allows a page: its own style."""

LONGEST = 4000
"""So many characters of a text are shown."""


def text(value: object, most: int = LONGEST) -> str:
    """Return a value as escaped text, cut where it is long."""
    if value is None:
        return ""
    told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    cut = f" … ({len(told) - most:,} more characters)" if len(told) > most > 200 else "…" if len(told) > most else ""
    return escape(told[:most].replace("\0", "\N{REPLACEMENT CHARACTER}")) + cut


def page(title: str, body: str, *styles: str) -> str:
    """Return a page. `title` is any text, `body` is HTML, `styles` are sheets that follow the one all pages share."""
    shared = files("mars.pages").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title, 80)} · MARS</title>\n<style>\n{shared}{''.join(styles)}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
