"""A report as a browser would take it: well-formed, with nothing to fetch."""

import html.parser
import pathlib
import re


VOID = {"meta", "img", "br", "link"}


class Page(html.parser.HTMLParser):
    """What a page says and shows; every element is closed, and nothing has an address."""

    def __init__(self):
        super().__init__()
        self.open, self.headings, self.pictures, self.text = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data"):
                found = re.fullmatch(r"data:image/png;base64,([A-Za-z0-9+/=]+)", value)
                assert found, f"{tag} fetches {value[:80]}"
                self.pictures.append(found[1])
        assert tag not in ("script", "link", "iframe"), tag

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def check_page(path: pathlib.Path) -> Page:
    """Read the page; it must be well-formed and fetch nothing."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page
