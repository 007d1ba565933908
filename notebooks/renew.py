"""Execute the notebooks from their texts: ``python notebooks/renew.py [01 02 ...]``.

With ``--verdicts`` only the printed verdicts on claims are renewed.
"""

import base64
import io
import pathlib
import re
import sys

import jupytext
import nbformat
import verdicts
from nbclient import NotebookClient
from PIL import Image


HERE = pathlib.Path(__file__).parent
PYTHON = {"name": "python3", "display_name": "Python 3", "language": "python"}


def renew(text: pathlib.Path) -> None:
    """Write the notebook beside ``text``, with its outputs and without metadata of this machine."""
    book = jupytext.read(text, fmt="py:percent")
    book.metadata = nbformat.from_dict({"kernelspec": PYTHON, "language_info": {"name": "python"}})
    for number, cell in enumerate(book.cells):
        cell.id = f"cell-{number}"
        cell.metadata.pop("lines_to_next_cell", None)
    NotebookClient(
        book,
        kernel_name="python3",
        resources={"metadata": {"path": HERE}},
        record_timing=False,
        coalesce_streams=True,
    ).execute()
    book.metadata.language_info = {"name": "python"}
    for output in (output for cell in book.cells for output in cell.get("outputs", ())):
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = with_palette(output.data["image/png"])
    nbformat.write(book, text.with_suffix(".ipynb"))


def with_palette(png: str) -> str:
    """The picture in 64 colors, which takes less than half of the bytes."""
    picture, small = Image.open(io.BytesIO(base64.b64decode(png))), io.BytesIO()
    picture.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def renew_verdicts(text: pathlib.Path) -> None:
    """Write the verdicts as they are measured now into the notebook, and execute nothing.

    The text may name other claims than the notebook did.
    """
    path = text.with_suffix(".ipynb")
    book = nbformat.read(path, as_version=4)
    for written, cell in zip(jupytext.read(text).cells, book.cells, strict=True):
        if names := shown_claims(written.source):
            cell.source = written.source
            (output,) = cell.outputs
            output.text = verdicts.text(*names) + "\n"
    nbformat.write(book, path)


def shown_claims(source: str) -> list[str]:
    """The claims whose verdicts a cell prints."""
    call = re.fullmatch(r"verdicts\.show\((.*)\)", source.strip(), re.S)
    return re.findall(r'"(\w+)"', call[1]) if call else []


if __name__ == "__main__":
    options = sys.argv[1:]
    how = renew_verdicts if "--verdicts" in options else renew
    for chosen in [option for option in options if option != "--verdicts"] or ["[0-9]"]:
        for text in sorted(HERE.glob(f"{chosen}*.py")):
            how(text)
