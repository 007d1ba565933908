"""Where figures come from, and where they go."""

import io
import json
import os
import pathlib
import platform
from typing import Any


RESULTS = pathlib.Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What a figure depends on besides the code."""
    import jax
    import jaxlib

    devices = jax.devices()
    return {
        "device": devices[0].device_kind,
        "platform": devices[0].platform,
        "devices": len(devices),
        "cores": os.cpu_count(),
        "processor": processor(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that figures depend on."""
    import flax
    import jax
    import numpy as np
    import optax

    import jaxopt_course

    packages = (jaxopt_course, jax, flax, optax, np)
    found = {package.__name__: str(package.__version__) for package in packages}
    return {**found, "python": platform.python_version()}


def processor() -> str:
    """The name that the system gives it."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def save(name: str, figures: dict[str, Any]) -> pathlib.Path:
    """Write ``results/NAME.json``: the figures and the machine. Of a quick run, in ``quick/``."""
    directory = RESULTS / "quick" if figures.get("quick") else RESULTS
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n")
    return path


def compact(record: Any) -> str:
    """A long record as JSON without spaces, its numbers in seven digits."""
    return json.dumps(_rounded(record), separators=(",", ":"), allow_nan=False) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def save_picture(figure: Any, path: pathlib.Path) -> pathlib.Path:
    """Write a figure as a PNG with a palette of 64 colors, a third the size of one without."""
    from PIL import Image  # a dependency of matplotlib

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    picture = Image.open(buffer).convert("RGB")
    picture.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    return path
