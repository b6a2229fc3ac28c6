"""What the site shows of the repository outside of docs/: the README as its home, and each file that a page links to.

MkDocs calls this (``hooks`` in mkdocs.yml). A page may link to any file as it lies in the repository,
`../examples/x.py`; the site gets a page with its text, so that every link leads somewhere. A site whose pages fetch
anything from elsewhere, a font for instance, is not built.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
HOMES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages that lie in the root, and what they are called on the site."""

LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#\s]+)([^)]*\))")
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".ipynb": "json", ".html": "html", ".sh": "sh"}
NEIGHBOURS = {"design": "design/README.md", "api": "api/index.md", ".": "use.md"}
"""Beside which page of the navigation one goes that mkdocs.yml does not name, by its folder."""


def lies_at(page: str) -> PurePosixPath:
    """The place of a page in the repository, from its place on the site."""
    if page.startswith("source/"):
        return PurePosixPath(page.removeprefix("source/").removesuffix(".md"))
    return next((PurePosixPath(name) for name, home in HOMES.items() if home == page), PurePosixPath("docs", page))


def target_of(page: str, link: str) -> str | None:
    """Where on the site a page's link to a file leads; None for a link that is right as it is."""
    if "://" in link or link.startswith(("/", "mailto:")):
        return None
    file = PurePosixPath(os.path.normpath(lies_at(page).parent / link))
    if file == PurePosixPath(".") or file.parts[0] == ".." or not (ROOT / file).exists():
        return None
    if str(file) in HOMES:
        return HOMES[str(file)]
    return str(file.relative_to("docs")) if file.parts[0] == "docs" else f"source/{file}.md"


def source_page(target: str) -> str:
    """The page that shows a file or a folder of the repository; no search finds it."""
    file = lies_at(target)
    unsearched = "---\nsearch:\n  exclude: true\n---\n\n"
    if (ROOT / file).is_dir():
        names = sorted(one.name for one in (ROOT / file).iterdir() if one.is_file())
        return f"{unsearched}# {file}\n\n" + "\n".join(f"* [{name}]({file.name}/{name})" for name in names)
    text = (ROOT / file).read_text(encoding="utf-8")
    if file.suffix == ".md":
        return unsearched + text
    return f"{unsearched}# {file}\n\n~~~~{LANGUAGES.get(file.suffix, 'text')}\n{text}\n~~~~\n"


def has_links(page: str) -> bool:
    """Whether a page has links of its own, and does not only show a file."""
    return not page.startswith("source/") or page.endswith(".md.md") or (ROOT / lies_at(page)).is_dir()


def lists_of(nav: Any) -> Iterator[list[Any]]:
    """Every list of the navigation, the whole one and those of its sections."""
    if isinstance(nav, list):
        yield nav
        for entry in nav:
            yield from lists_of(entry)
    elif isinstance(nav, dict):
        for section in nav.values():
            yield from lists_of(section)


def complete(nav: list[Any], pages: list[str]) -> None:
    """Put each page that the navigation does not name behind those of its folder."""
    entries = [(section, value) for section in lists_of(nav) for one in section for value in leaves(one)]
    named = {page for _, page in entries}
    for page in sorted(set(pages) - named):
        neighbour = NEIGHBOURS.get(str(PurePosixPath(page).parent), NEIGHBOURS["."])
        next(section for section, value in entries if value == neighbour).append(page)


def leaves(entry: Any) -> list[str]:
    """The pages that an entry of the navigation names itself."""
    return [one for one in (entry.values() if isinstance(entry, dict) else [entry]) if isinstance(one, str)]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and one for each file outside of docs/ that a page links to."""
    complete(config.nav or [], [page.src_uri for page in files.documentation_pages()])
    for name, home in HOMES.items():
        files.append(File.generated(config, home, content=(ROOT / name).read_text(encoding="utf-8")))
    waiting = list(files.documentation_pages())
    while waiting:
        page = waiting.pop()
        for _, link, _ in LINK.findall(page.content_string):
            target = target_of(page.src_uri, link)
            if target and target.startswith("source/") and files.get_file_from_path(target) is None:
                shown = source_page(target)
                file = File.generated(config, target, content=shown, inclusion=InclusionLevel.NOT_IN_NAV)
                files.append(file)
                waiting += [file] if has_links(target) else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to their pages."""
    source = page.file.src_uri
    if not has_links(source):
        return markdown

    def relinked(found: re.Match[str]) -> str:
        target = target_of(source, found[2])
        if target is None:
            return found[0]
        return f"{found[1]}{os.path.relpath(target, PurePosixPath(source).parent)}{found[3]}"

    return LINK.sub(relinked, markdown)


class Fetches(HTMLParser):
    """Notes what a browser fetches from elsewhere while it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        """The addresses."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag's address, unless it is a link that somebody has to follow."""
        values = {name: value or "" for name, value in attrs}
        if tag != "a" and values.get("rel") not in ("canonical", "prev", "next"):
            self.found += [values[name] for name in ("src", "href", "srcset", "data", "poster") if name in values]
        if "mermaid" in values.get("class", "").split():
            self.found.append("https://unpkg.com/mermaid")  # the theme's script fetches it when it sees such a block


def fetched_from_elsewhere(name: str, text: str) -> Iterator[str]:
    """Each address outside of the site that a page or a style sheet fetches."""
    addresses = re.findall(r"(?:url\(|@import\s+)[\s\"']*([^\s\"')]+)", text)
    if not name.endswith(".css"):
        page = Fetches()
        page.feed(text)
        addresses = page.found
    yield from (address for address in addresses if re.match(r"\s*(?:https?:)?//", address))


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that fetches anything from elsewhere."""
    files = [path for path in Path(config.site_dir).rglob("*") if path.is_file() and path.suffix in (".html", ".css")]
    found = {address for path in files for address in fetched_from_elsewhere(path.name, path.read_text("utf-8"))}
    if found or not files:
        raise PluginError(f"the pages fetch from elsewhere: {', '.join(sorted(found)) or 'there are none'}")
