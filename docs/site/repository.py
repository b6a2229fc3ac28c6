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

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
HOMES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages that lie in the root, and what they are called on the site."""

LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#\s]+)([^)]*\))")
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json"}


def lies_at(page: str) -> PurePosixPath:
    """The place of a page in the repository, from its place on the site."""
    return next((PurePosixPath(name) for name, home in HOMES.items() if home == page), PurePosixPath("docs", page))


def target_of(page: str, link: str) -> str | None:
    """Where on the site a page's link to a file leads; None for a link that is right as it is."""
    if "://" in link or link.startswith(("/", "mailto:")):
        return None
    file = PurePosixPath(os.path.normpath(lies_at(page).parent / link))
    if not (ROOT / file).is_file():
        return None
    if str(file) in HOMES:
        return HOMES[str(file)]
    return str(file.relative_to("docs")) if file.parts[0] == "docs" else f"source/{file}.md"


def source_page(target: str) -> str:
    """The page that shows a file of the repository, which no search finds."""
    name = target.removeprefix("source/").removesuffix(".md")
    language = LANGUAGES.get(PurePosixPath(name).suffix, "text")
    text = (ROOT / name).read_text(encoding="utf-8")
    return f"---\nsearch:\n  exclude: true\n---\n\n# {name}\n\n~~~~{language}\n{text}\n~~~~\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and one for each file outside of docs/ that a page links to."""
    for name, home in HOMES.items():
        files.append(File.generated(config, home, content=(ROOT / name).read_text(encoding="utf-8")))
    for page in list(files.documentation_pages()):
        for _, link, _ in LINK.findall(page.content_string):
            target = target_of(page.src_uri, link)
            if target and target.startswith("source/") and files.get_file_from_path(target) is None:
                shown = source_page(target)
                files.append(File.generated(config, target, content=shown, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to their pages."""
    source = page.file.src_uri
    if source.startswith("source/"):
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
    files = [path for path in Path(config.site_dir).rglob("*") if path.suffix in (".html", ".css")]
    found = {address for path in files for address in fetched_from_elsewhere(path.name, path.read_text("utf-8"))}
    if found or not files:
        raise PluginError(f"the pages fetch from elsewhere: {', '.join(sorted(found)) or 'there are none'}")
