"""Reports as one HTML file: no script, nothing fetched, the pictures within."""

import base64
import html
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from ._report import write_bytes, write_text


STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
h2 { border-top: 1px solid #ccc; padding-top: 1rem; }
pre { overflow-x: auto; white-space: pre-wrap; font-size: 14px; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; }
"""


class Section(NamedTuple):
    """A part of a report.

    title: its heading.
    text: shown as it is, line by line, in letters of one width.
    pictures: caption -> a PNG.
    """

    title: str
    text: str = ""
    pictures: Mapping[str, bytes] = {}


def as_png(figure: Figure) -> bytes:
    """A figure as a picture."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def picture_name(caption: str) -> str:
    """The file of a picture: ``"learning_rate.png"`` of ``"Learning rate"``."""
    return caption.lower().replace(" ", "_") + ".png"


def write_report(path: pathlib.Path, title: str, sections: Sequence[Section]) -> None:
    """Write a report as :func:`write_html` does, and each of its pictures beside it too."""
    for section in sections:
        for caption, png in section.pictures.items():
            write_bytes(path.with_name(picture_name(caption)), png)
    write_html(path, title, sections)


def write_html(path: pathlib.Path, title: str, sections: Sequence[Section]) -> None:
    """Write a report that can be sent around as it is.

    Args:
        path: of the file.
        title: of the report; like all text, it may hold any characters.
        sections: one below the other.
    """
    name = html.escape(title)
    # The policy is a second lock: even text left unescaped could load and run nothing.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{name}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>",
        *(_section(section) for section in sections),
        "</body>\n</html>\n",
    ]
    write_text(path, "\n".join(parts))


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{html.escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<pre>{html.escape(section.text)}</pre>")
    for caption, png in section.pictures.items():
        said, data = html.escape(caption), base64.b64encode(png).decode("ascii")
        parts.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{said}">'
            f"<figcaption>{said}</figcaption></figure>"
        )
    return "\n".join([*parts, "</section>"])
