"""Optimizers beside implementations that other people wrote, which are recorded once.

Each file of rows names, for each method, what is built here and what the other package builds.
``python -m tests.oracles.record`` records the others' trajectories where they are installed;
the tests and ``docs/oracles.md`` need only the recorded values.
"""
