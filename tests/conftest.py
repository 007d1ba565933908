"""Tests run in double precision and strictly; peers and bad arguments get fixtures of their own.

``JAXOPT_COURSE_X64=0`` runs them in single precision; ``tests/test_own_process.py`` does so.
Programs of tests run once, so most of their time is compilation: XLA optimizes little, unless
``JAXOPT_COURSE_OPTIMIZED=1``, as ``.ci/run`` sets it for those that compare bits. What JAX has
traced stays alive, so looking through all of it for garbage is slow and seldom finds any.
"""

import gc
import os
import time

import jax
import jaxtyping
import pytest


OLD_EMITTERS = "--xla_cpu_use_fusion_emitters=false"

gc.set_threshold(100_000, 50, 100)  # Python's own 700, 10, 10 took a seventh of the time
jax.config.update("jax_enable_x64", os.environ.get("JAXOPT_COURSE_X64") != "0")
if os.environ.get("JAXOPT_COURSE_OPTIMIZED") != "1":
    jax.config.update("jax_disable_most_optimizations", True)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # the processes that tests start, likewise
    if jax.__version_info__ < (0, 11):  # where it halves the time of compiling; gone since
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {OLD_EMITTERS}"
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture
def standard_promotion():
    """For peers (optax, flax), which mix dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def as_users_run_it():
    """Annotations are not executed: what a bad argument meets is the library's own check."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def pytest_runtest_setup():
    """After the second ``JAXOPT_COURSE_DEADLINE`` since the epoch, tests are skipped."""
    if time.time() > float(os.environ.get("JAXOPT_COURSE_DEADLINE", "inf")):
        pytest.skip("no time was left")


def pytest_terminal_summary(terminalreporter):
    """What the fault tests counted, in one table."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    said = [text for r in reports for name, text in r.user_properties if name == "fault"]
    if said:
        terminalreporter.section("faults and what became of them")
        for text in said:
            terminalreporter.line(text)
