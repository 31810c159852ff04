"""Follows every link of the built pages that stays on this machine, anchors included:
``python docs/check_links.py HTML``.

Links to other sites are not followed: whether they answer is not for a build to depend on.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The names that a page can be entered by, and where it leads to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.names: set[str] = {""}
        self.links: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, text in attrs:
            if text is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.names.add(text)
            elif name in {"href", "src"}:
                self.links.append(text)


def broken(root: Path) -> list[str]:
    pages = {path: Page(path) for path in sorted(root.rglob("*.html"))}
    found: list[str] = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            known = pages.get(target)
            if not target.exists() or (known and unquote(parts.fragment) not in known.names):
                found.append(f"{path.relative_to(root)}: {link}")
    return found


if __name__ == "__main__":
    lost = broken(Path(sys.argv[1]).resolve())
    sys.exit("\n".join(["links that lead nowhere:", *lost]) if lost else 0)
