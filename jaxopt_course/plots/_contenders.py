"""What the figures of a comparison share: panels, labels, and the legend of the contenders."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ._style import panels


def legend_below(figure: Figure, axes: Axes) -> None:
    """The lines of ``axes``, under all axes."""
    handles, labels = axes.get_legend_handles_labels()
    columns = min(len(labels), 5)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def view_label(clock: str, setting: str) -> str:
    """What the costs are, for a label."""
    return f"{clock}, {'held-out variants' if setting == 'held_out' else 'fresh seeds'}"


def small_multiples(figure: Figure, names: tuple[str, ...], below: str) -> list[Axes]:
    """A panel for each name, four in a row; ``below`` says what goes along x."""
    across = min(4, len(names))
    found = panels(figure, len(names), across)
    for number, (axes, name) in enumerate(zip(found, names, strict=True)):
        axes.set_title(name, fontsize="medium")
        if number + across >= len(names):
            axes.set_xlabel(below)
    figure.set_size_inches(2.7 * across + 0.6, 2.2 * -(-len(names) // across) + 1.0)
    return found
