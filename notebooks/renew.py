"""Execute the notebooks from their texts: ``python notebooks/renew.py [01 02 ...]``."""

import pathlib
import sys

import jupytext
import nbformat
from nbclient import NotebookClient


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
    nbformat.write(book, text.with_suffix(".ipynb"))


if __name__ == "__main__":
    for chosen in sys.argv[1:] or ["[0-9]"]:
        for text in sorted(HERE.glob(f"{chosen}*.py")):
            renew(text)
