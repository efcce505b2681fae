import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_grok.change import Rule, find_change

RISE = Rule(rises=True, start="first", minimum=0.2)
FALL_FROM_PEAK = Rule(rises=False, start="extreme", minimum=0.1, relative=True)
HALVING = Rule(rises=False, start="extreme", minimum=0.5, relative=True)
STEPS = np.unique(np.r_[0, np.geomspace(1, 10_000, 25).astype(int)])


def logistic(steps: np.ndarray, middle: float, width: float = 0.3) -> np.ndarray:
    return 1 / (1 + np.exp(-(np.log1p(steps) - np.log1p(middle)) / width))


def test_straight_line_in_log_step():
    """value = log(1 + step) / log(1001) crosses each level where that formula says."""
    steps = np.arange(1001)
    found = find_change(steps[::10], np.log1p(steps[::10]) / np.log(1001), RISE)
    for name, fraction in (("onset", 0.1), ("middle", 0.5), ("end", 0.9)):
        expected = 1001**fraction - 1
        assert found[name].step == pytest.approx(expected, rel=1e-6)
        assert (found[name].low, found[name].high) == (expected // 10 * 10, expected // 10 * 10 + 10)


def test_both_scales_of_an_exponential_fall():
    """From 1 to 1e-8 in equal factors of ten, every 0.001 in log step.

    On the logarithmic scale 10%, 50% and 90% are at 10^-0.8, 10^-4 and 10^-7.2; on the linear one where 10^-x is 0.9,
    0.5 and 0.1, up to the 1e-8 that remains.
    """
    x = np.linspace(0, 8, 8001)
    for scale, places in (("log", (0.8, 4.0, 7.2)), ("linear", -np.log10([0.9, 0.5, 0.1]))):
        found = find_change(np.expm1(x), 10.0**-x, HALVING, scale=scale)
        for crossing, place in zip(found.values(), places, strict=True):
            assert np.log1p(crossing.step) == pytest.approx(place, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(-3, 3), st.floats(0.01, 1e4), st.integers(0, 100))
def test_one_curve_does_not_lag_itself_by_another_rule(power, unit, seed):
    """A fall has the same middle by the LLC's rule and by that of a loss, in any unit."""
    fall = 1 - logistic(STEPS, 300)
    values = (0.01 + fall) * np.exp(power * fall) * np.random.default_rng(seed).uniform(0.99, 1.01, len(STEPS))
    middle = find_change(STEPS, values, FALL_FROM_PEAK)["middle"]
    other = find_change(STEPS, unit * values, HALVING)["middle"]
    if np.isfinite([middle.step, other.step]).all():  # the smallest change differs between the rules
        assert other == pytest.approx(middle, rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("count", [11, 41])
def test_the_end_is_the_last_checkpoint(count):
    """A straight fall from 100 to 0 over 10 in log step that has not ended: half way is at 5 for any spacing."""
    x = np.linspace(0, 10, count)
    found = find_change(np.expm1(x), 100 - 10 * x, FALL_FROM_PEAK)
    assert np.log1p(found["middle"].step) == pytest.approx(5, abs=1e-5)


def test_only_what_comes_after_the_extreme_counts():
    """Excluded loss: down during memorization, then up; the way up is the change."""
    steps, rises = np.array([0, 10, 100, 200, 300, 400, 500]), HALVING._replace(rises=True)
    found = find_change(steps, np.array([4.0, 1.0, 0.01, 0.01, 0.1, 1.0, 1.0]), rises, scale="log")
    assert (found["onset"].low, found["onset"].high) == (200, 300)
    assert np.log1p(found["middle"].step) == pytest.approx(np.log(301), rel=1e-9)  # 0.1 is halfway from 0.01 to 1
    assert (found["end"].low, found["end"].high) == (300, 400)
    found = find_change(steps, np.array([4.0, 1.0, 0.2, 0.2, 0.6, 1.0, 1.0]), rises)
    assert found["middle"].step == pytest.approx(300)  # 0.6 is half way from 0.2 to 1


@pytest.mark.parametrize("outlier", [0, 5, 15, 22])
def test_one_outlier_moves_no_crossing(outlier):
    steps, width = np.arange(1, 26) * 10, 25
    clean = np.where(np.arange(width) < 11, 0.0, 1.0)
    spoiled = clean.copy()
    spoiled[outlier] = 1 - spoiled[outlier]
    if outlier:  # the first checkpoint itself is the start level
        assert find_change(steps, spoiled, RISE) == find_change(steps, clean, RISE)
    else:
        assert np.isnan(find_change(steps, spoiled, RISE)["middle"].step)


@pytest.mark.parametrize("seed", range(3))
def test_a_spike_is_no_extreme(seed):
    values = np.where(STEPS < 300, 10.0, 1.0)
    values[-6] = 1e4  # a single spike, long after the loss has fallen
    values *= np.exp(0.01 * np.random.default_rng(seed).standard_normal(len(STEPS)))
    found = find_change(STEPS, values, HALVING)
    assert found["middle"].low < 300 <= found["middle"].high


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (0.1 + 0.19 * logistic(STEPS, 100), RISE),
        (1 - logistic(STEPS, 100), RISE),
        (10 - 0.9 * logistic(STEPS, 100), FALL_FROM_PEAK),
        (logistic(STEPS, 100), FALL_FROM_PEAK),
        (1 - 0.49 * logistic(STEPS, 100), HALVING),
        (np.full(len(STEPS), np.nan), RISE),
        (np.full(len(STEPS), 3.0), HALVING),
    ],
)
def test_too_small_or_opposite_is_absent(values, rule):
    found = find_change(STEPS, values, rule)
    assert np.isnan([(crossing.step, crossing.low, crossing.high) for crossing in found.values()]).all()


def test_a_change_must_exceed_its_errors():
    values = 20 - 5 * logistic(STEPS, 100)
    assert np.isfinite(find_change(STEPS, values, FALL_FROM_PEAK, np.full(len(STEPS), 1.0))["middle"].step)
    assert np.isnan(find_change(STEPS, values, FALL_FROM_PEAK, np.full(len(STEPS), 1.3))["middle"].step)


@pytest.mark.parametrize("count", [0, 1])
def test_one_checkpoint_has_no_transition(count):
    found = find_change(np.arange(count), np.ones(count), RISE)
    assert all(np.isnan(crossing.step) for crossing in found.values())


def test_missing_points_are_left_out():
    values = logistic(STEPS, 100)
    holes = np.zeros(len(STEPS), bool)
    holes[[2, 9, 10]] = True
    gone = find_change(STEPS[~holes], values[~holes], RISE)
    assert find_change(STEPS, np.where(holes, np.nan, values), RISE) == gone


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 50), st.integers(0, 1000))
def test_scaling_time_scales_the_transition(factor, seed):
    """1 + step -> factor (1 + step) shifts the axis of the rule, and everything found with it."""
    values = logistic(STEPS, 300) + 0.05 * np.random.default_rng(seed).standard_normal(len(STEPS))
    before = find_change(STEPS, values, RISE)
    after = find_change(factor * (1 + STEPS) - 1, values, RISE)
    for name, crossing in before.items():
        for part in ("step", "low", "high"):
            assert 1 + getattr(after[name], part) == pytest.approx(factor * (1 + getattr(crossing, part)), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 100), st.integers(0, 1000))
def test_units_of_a_relative_rule_do_not_matter(unit, seed):
    se = np.full(len(STEPS), 0.04)
    values = 2 - logistic(STEPS, 300) + se * np.random.default_rng(seed).standard_normal(len(STEPS))
    one = find_change(STEPS, values, FALL_FROM_PEAK, se, bootstrap=20)
    other = find_change(STEPS, unit * values, FALL_FROM_PEAK, unit * se, bootstrap=20)
    for name, crossing in one.items():
        assert other[name].step == pytest.approx(crossing.step, rel=1e-5)
        assert other[name].high == pytest.approx(crossing.high, rel=1e-5)


def test_order_inside_each_interval():
    values = 160 - 120 * logistic(STEPS, 500) + 4 * np.random.default_rng(0).standard_normal(len(STEPS))
    found = find_change(STEPS, values, FALL_FROM_PEAK, np.full(len(STEPS), 4.0))
    assert found["onset"].step < found["middle"].step < found["end"].step
    assert all(c.low <= c.step <= c.high for c in found.values())


def test_same_seed_same_interval():
    values = 160 - 120 * logistic(STEPS, 500)
    se = np.full(len(STEPS), 6.0)
    first, again, other = (find_change(STEPS, values, FALL_FROM_PEAK, se, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first != other


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("share", "where"), [pytest.param(0.02, 150, marks=SLOW), (0.05, 700), pytest.param(0.1, 700, marks=SLOW)]
)
def test_the_interval_of_a_noisy_drop_covers_the_truth(share, where):
    """200 repeats at a stated noise: the 95% intervals of onset, middle and end each cover in at least 90%.

    The truth is known: a logistic from 160 to 40 whose middle is `where`. An interval as wide as the whole axis would
    cover too: the median length of the middle's is bounded by two gaps between checkpoints plus four standard errors
    of a single estimate, divided by the slope.
    """
    x, width = np.log1p(STEPS), 0.5
    curve = 160 - 120 * logistic(STEPS, where, width)
    truth = {f: np.expm1(np.log1p(where) + width * np.log(f / (1 - f))) for f in (0.1, 0.5, 0.9)}
    noise = 120 * share
    se = np.full(len(STEPS), noise)
    generator = np.random.default_rng(11)
    covered, lengths = [], []
    for repeat in range(200):
        values = curve + noise * generator.standard_normal(len(STEPS))
        found = find_change(STEPS, values, FALL_FROM_PEAK, se, bootstrap=100, seed=repeat)
        covered.append([c.low <= step <= c.high for c, step in zip(found.values(), truth.values(), strict=True)])
        lengths.append(np.log1p(found["middle"].high) - np.log1p(found["middle"].low))
    assert (np.mean(covered, axis=0) >= 0.90).all()
    slope = 120 / (4 * width)
    assert np.median(lengths) <= 2 * np.diff(x)[len(x) // 2] + 4 * noise / slope


def test_noise_alone_is_no_drop():
    """200 flat curves whose noise (8%) makes the range of the values far more than 10% of the peak: at most 2% drop."""
    generator = np.random.default_rng(5)
    se = np.full(len(STEPS), 8.0)
    curves = [100 + se * generator.standard_normal(len(STEPS)) for _ in range(200)]
    assert np.mean([np.ptp(curve) > 0.1 * curve.max() for curve in curves]) == 1
    found = [find_change(STEPS, curve, FALL_FROM_PEAK, se, bootstrap=1)["middle"].step for curve in curves]
    assert np.isfinite(found).mean() <= 0.02
