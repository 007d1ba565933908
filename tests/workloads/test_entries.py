"""The entries: their defaults are in their spaces, and their numbers may be traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.optimizers import sgd
from jaxopt_course.studies import Float, Int, configuration_at
from jaxopt_course.workloads import OPTIMIZERS, Entry, entry


def test_the_ten_are_there_and_only_rprop_takes_the_full_batch():
    assert list(OPTIMIZERS) == [
        *("sgd", "momentum", "nesterov", "adagrad", "rmsprop"),
        *("adam", "adamw", "nadam", "lion", "rprop"),
    ]
    assert [name for name, own in OPTIMIZERS.items() if own.full_batch] == ["rprop"]
    with pytest.raises(ValueError, match="Did you mean 'nesterov'"):
        entry("nesterow")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_defaults_are_a_point_of_the_space_and_rates_span_decades(name):
    own = OPTIMIZERS[name]
    found = configuration_at(dict(own.space), own.default_point())
    for key, value in own.defaults.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-12)
    rate = own.space["learning_rate"]
    assert rate.log
    decades = 5 if name in ("sgd", "momentum", "nesterov") else 4
    assert rate.high / rate.low == pytest.approx(10.0**decades)


def test_whole_numbers_have_their_point_too():
    own = Entry("own", lambda h: sgd(0.1), {"k": Int(1, 9, log=True)}, {"k": 4})
    assert configuration_at(dict(own.space), own.default_point()) == {"k": 4}


@pytest.mark.exhaustive
def test_every_number_may_be_traced_and_matters():
    slopes = jax.random.normal(jax.random.key(0), (12, 64), jnp.float64)

    def moved(numbers, build):
        tx = build(numbers)

        def step(carry, grads):
            x, state = carry
            updates, state = tx.update(grads, state, x)
            return (x + updates, state), None

        start = jnp.linspace(-2.0, 2.0, 64)
        return jax.lax.scan(step, (start, tx.init(start)), slopes)[0][0]

    tables = {}
    for name, own in OPTIMIZERS.items():
        rows = np.tile(own.default_point(), (len(own.space) + 1, 1))
        rows[1:] += np.diag(np.where(rows[0] < 0.5, 0.2, -0.2))  # one number after the other
        configurations = [configuration_at(dict(own.space), row) for row in rows]
        tables[name] = {k: jnp.array([c[k] for c in configurations]) for k in own.space}
    all_moved = lambda tables: {
        name: jax.vmap(lambda h, own=own: moved(h, own.build))(tables[name])
        for name, own in OPTIMIZERS.items()
    }
    for name, ends in jax.jit(all_moved)(tables).items():
        assert np.isfinite(ends).all()
        assert (np.asarray(ends[1:]) != np.asarray(ends[:1])).any(-1).all(), name


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        ({"rate": 2.0}, r"must lie in the ranges of its space, got 2.0 for `rate`"),
        ({"speed": 0.5}, "must have the names of its space, rate, got speed"),
    ],
)
def test_defaults_outside_the_space_are_refused(defaults, message):
    own = Entry("own", lambda h: sgd(h["rate"]), {"rate": Float(0.1, 1.0)}, defaults)
    with pytest.raises(ValueError, match=message):
        own.default_point()
