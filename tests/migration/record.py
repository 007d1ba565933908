"""Record what torch and Keras give for the rows of the migration page.

    python -m tests.migration.record      where torch and Keras are installed

writes ``recorded.json``, which the everyday tests compare with. Run it again when a row of torch or
Keras is added or changed.
"""

import json

import jax

from tests.migration.page import ROWS, code
from tests.migration.sides import DECAYS, RECORDED, STEPS, kept, the_keras, theirs, trained_by_keras


def main():
    """Write the values of all rows to fourteen digits, and the versions."""
    import torch

    keras = the_keras()
    jax.config.update("jax_enable_x64", True)
    rows = {
        code(row.theirs): [
            [float(f"{x:.14g}") for x in step] for step in kept(theirs(row)).tolist()
        ]
        for row in ROWS
        if not code(row.theirs).startswith("optax")
    }
    versions = {"torch": torch.__version__, "keras": keras.__version__, "jax": jax.__version__}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(values)}" for name, values in rows.items())
    trainings = {str(decay): trained_by_keras(decay) for decay in DECAYS}
    head = json.dumps({"versions": versions, "steps": STEPS, "trainings": trainings})[:-1]
    RECORDED.write_text(f'{head}, "rows": {{\n{lines}\n}}}}\n')


if __name__ == "__main__":
    main()
