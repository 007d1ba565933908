"""The tests, and the checker that executes the package's annotations in them."""

import beartype


check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))  # an int is a float
