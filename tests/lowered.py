"""The text of a lowered program, for comparisons."""

import re


PLACES = re.compile(r'^#loc.*\n|loc\((?:[^()"]|"[^"]*"|\([^()]*\))*\)', re.MULTILINE)


def without_places(text):
    """A program's text without the places in Python that its operations come from."""
    return PLACES.sub("", text).strip()
