"""What there is to see of a claim: curves or groups of values with all seeds, or planes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float


class Curves(NamedTuple):
    """Something that goes along something else.

    x: f[points].
    lines: name -> f[seeds, points].
    x_label: what x is.
    y_label: what the lines are.
    log_x: whether x is spread by its logarithm.
    log_y: whether y is.
    """

    x: Float[np.ndarray, "points"]
    lines: Mapping[str, Float[np.ndarray, "seeds points"]]
    x_label: str
    y_label: str
    log_x: bool = False
    log_y: bool = False


class Groups(NamedTuple):
    """One number a seed, of several things.

    values: name -> f[seeds].
    y_label: what the numbers are.
    log_y: whether they are spread by their logarithm.
    """

    values: Mapping[str, Float[np.ndarray, "seeds"]]
    y_label: str
    log_y: bool = False


class Planes(NamedTuple):
    """Fields over a plane, each in a panel of its own, with lines and dots.

    x: f[columns].
    y: f[rows].
    fields: panel -> f[rows, columns], of the first seed.
    levels: f[levels], where the level curves of the fields are drawn.
    lines: panel -> name -> f[points, 2], with NaN between the pieces of a line.
    dots: panel -> name -> f[points, 2].
    x_label: what x is.
    y_label: what y is.
    """

    x: Float[np.ndarray, "columns"]
    y: Float[np.ndarray, "rows"]
    fields: Mapping[str, Float[np.ndarray, "rows columns"]]
    levels: Float[np.ndarray, "levels"]
    lines: Mapping[str, Mapping[str, Float[np.ndarray, "line 2"]]]
    dots: Mapping[str, Mapping[str, Float[np.ndarray, "dots 2"]]]
    x_label: str
    y_label: str


Picture = Curves | Groups | Planes


def picture_to_json(picture: Picture) -> dict[str, Any]:
    """``picture`` as JSON can write it, in four digits; what is not finite becomes null."""
    fields = {name: _plain(value) for name, value in picture._asdict().items()}
    return {"kind": type(picture).__name__, **fields}


def picture_from_json(stored: Mapping[str, Any]) -> Picture:
    """The picture that :func:`picture_to_json` has written; null becomes NaN."""
    kinds: dict[str, Any] = {kind.__name__: kind for kind in (Curves, Groups, Planes)}
    fields = {name: _arrays(value) for name, value in stored.items() if name != "kind"}
    picture: Picture = kinds[stored["kind"]](**fields)
    return picture


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | list):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.4g}") if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _arrays(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _arrays(item) for name, item in value.items()}
    return np.array(value, float) if isinstance(value, list) else value
