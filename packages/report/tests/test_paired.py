"""The statistics of comparisons: whether intervals hold."""

import ast
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from wandb_eval.report import paired

pytestmark = pytest.mark.once

SIMULATIONS = 1_000
SIZES = (100, 1_000, 10_000)


def coverage(estimates, truth):
    return np.mean([one.low <= truth <= one.high for one in estimates])


def test_bonett_and_price_by_hand():
    """The formula of the paper, for 100 pairs of which 12 and 4 differ."""
    low, high = paired.proportions_interval(12, 4, 100)
    p_12, p_21 = 13 / 102, 5 / 102
    margin = 1.959964 * np.sqrt((p_12 + p_21 - (p_12 - p_21) ** 2) / 102)
    assert (low, high) == pytest.approx((8 / 102 - margin, 8 / 102 + margin), abs=1e-6)
    assert paired.proportions_interval(100, 0, 100)[1] <= 1
    low, high = paired.proportions_interval(0, 0, 50)
    assert low == -high < 0


@pytest.mark.parametrize("times", [0, 1, 7, 500, 1_000])
def test_limits_of_a_share_leave_mid_p_of_half_of_5_percent(times):
    low, high = paired._mid_p_limits(times, 1_000)
    for share, tail in ((low, stats.binom.sf), (high, stats.binom.cdf)):
        if share in (0, 1):
            assert times == 1_000 * share
            continue
        further = tail(times, 1_000, share)
        as_many = stats.binom.pmf(times, 1_000, share)
        further -= as_many if tail == stats.binom.cdf else 0
        assert further + as_many / 2 == pytest.approx(0.025, abs=1e-6)


def test_where_many_differ_the_interval_is_walds():
    low, high = paired.proportions_interval(312, 140, 10_000)
    margin = 1.96 * np.sqrt((0.0312 + 0.0140 - 0.0172**2) / 10_000)
    assert (low, high) == pytest.approx((0.0172 - margin, 0.0172 + margin), abs=3e-4)


def test_no_pair_that_differs_has_an_interval_around_nothing():
    low, high = paired.proportions_interval(0, 0, 1_000)
    assert low == pytest.approx(-high)
    assert high == pytest.approx(1 - 0.05 ** (1 / 1_000), abs=1e-5)
    assert paired.mcnemar(0, 0) == 1


@pytest.mark.parametrize("share", [0.5, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("differing", [0.005, 0.3])
@pytest.mark.parametrize("count", SIZES)
def test_intervals_of_right_and_wrong_hold(count, differing, share):
    """`share` of the pairs that differ are fixed; half of them, if B is no better."""
    shares = [differing * share, differing * (1 - share), 1 - differing]
    rng = np.random.default_rng(0)
    drawn, times = np.unique(
        rng.multinomial(count, shares, SIMULATIONS)[:, :2], axis=0, return_counts=True
    )
    truth = shares[0] - shares[1]
    held = better = 0
    for (fixed, broken), often in zip(drawn.tolist(), times, strict=True):
        low, high = paired.proportions_interval(fixed, broken, count)
        held += often * (low <= truth <= high)
        p_value = paired.mcnemar(fixed, broken)
        better += often * (p_value < 0.05 and not low <= 0 <= high)
    assert held / SIMULATIONS >= 0.93
    if count >= 1_000:
        assert held / SIMULATIONS <= 0.98
    if share == 0.5:
        assert better / SIMULATIONS <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rare", "frequent", "all", "skewed"])
@pytest.mark.parametrize("count", SIZES)
def test_intervals_of_other_numbers_hold(count, kind):
    """Numbers such as F1, which change in some samples, and losses, in all."""
    rng = np.random.default_rng(1)
    changing = {"rare": 0.005, "frequent": 0.3}.get(kind, 1.0)
    pairs = []
    for _ in range(SIMULATIONS):
        a = rng.exponential(size=count)
        changes = rng.normal(0, 0.3, count)
        if kind == "skewed":
            changes = rng.exponential(0.3, count) - 0.1
        pairs.append((a, a + changes * (rng.random(count) < changing)))
    found = paired.compare_means(pairs)
    truth = 0.2 if kind == "skewed" else 0
    assert coverage(found, truth) >= 0.93
    if count >= 1_000 and kind != "rare":
        assert coverage(found, truth) <= 0.98
    if kind != "skewed":
        # 5 %, and two standard errors of a share of 1,000.
        assert np.mean([one.is_clear for one in found]) <= 0.05 + 0.014


def test_an_interval_of_means_is_that_of_scipys_bootstrap():
    rng = np.random.default_rng(3)
    for count in (50, 400, 3_000):
        a = rng.exponential(size=count)
        b = a + rng.exponential(0.2, count) - 0.1
        [found] = paired.compare_means([(a, b)])
        expected = stats.bootstrap(
            (a, b),
            lambda a, b, axis: (b - a).mean(axis=axis),
            paired=True,
            vectorized=True,
            n_resamples=2_000,
            batch=50,
            method="BCa",
            random_state=0,
        ).confidence_interval
        width = expected.high - expected.low
        # Wider for few samples: by the two that are added, and by the t distribution.
        loose = width * (0.05 + 3 / count)
        assert found.low == pytest.approx(expected.low, abs=loose)
        assert found.high == pytest.approx(expected.high, abs=loose)
        assert found.difference == pytest.approx((b - a).mean())


def test_to_swap_the_two_turns_the_interval_around():
    rng = np.random.default_rng(4)
    a, b = rng.random((2, 700))
    [there], [back] = paired.compare_means([(a, b)]), paired.compare_means([(b, a)])
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p_value == pytest.approx(back.p_value)
    assert paired.proportions_interval(9, 2, 2_000) == pytest.approx(
        [-end for end in reversed(paired.proportions_interval(2, 9, 2_000))]
    )


def test_a_p_value_of_means_is_nearly_that_of_a_paired_t_test():
    rng = np.random.default_rng(5)
    a = rng.random(3_000)
    b = a + rng.normal(0.003, 0.1, 3_000)
    [found] = paired.compare_means([(a, b)])
    expected = stats.ttest_rel(b, a).pvalue
    assert found.p_value == pytest.approx(expected, rel=0.05)


def test_numbers_that_do_not_change_and_too_few_samples():
    same = np.linspace(0, 1, 50)
    [found] = paired.compare_means([(same, same)])
    assert (found.difference, found.p_value, found.is_clear) == (0, 1, False)
    assert found.low < 0 < found.high
    [found] = paired.compare_means([(np.zeros(50), np.zeros(50))])
    assert (found.low, found.high, found.p_value) == (0, 0, 1)
    [found] = paired.compare_means([(np.zeros(2), np.ones(2))])
    assert (found.difference, found.low, found.is_clear) == (1, None, False)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [(2, 2), (3, 3), (5, 5), (1, 5)])
@pytest.mark.parametrize("of_runs", [0, 0.01, 0.03])
def test_intervals_of_several_runs_hold_for_the_recipe(runs, of_runs):
    """The spread of recipes over runs is none, that of samples, or three times that."""
    rng = np.random.default_rng(6)
    found = []
    for _ in range(SIMULATIONS):
        samples = rng.normal(size=1_000)
        a, b = (
            samples
            + rng.normal(0, 0.3, 1_000)
            + (rng.normal(0, of_runs, (count, 1)) if count > 1 else 0)
            + rng.normal(0, 0.3, (count, 1_000))
            for count in runs
        )
        found.append(paired.compare_runs(a, b))
    assert 0.93 <= coverage(found, 0) <= 0.98


def test_runs_that_happen_to_be_equal_are_not_certain():
    a, b = np.ones((2, 2, 50))
    a[0, :3] = a[1, 3:6] = b[0, 6:10] = b[1, 10:14] = 0  # Wrong.
    found = paired.compare_runs(a, b)
    assert found.difference == pytest.approx(-0.02)
    of_models = np.var(b.mean(0) - a.mean(0), ddof=1) / 50
    margin = stats.t.ppf(0.975, 49) * np.sqrt(of_models)
    assert [found.low, found.high] == pytest.approx([-0.02 - margin, -0.02 + margin])
    assert found.p_value > 0.5


def test_one_run_a_side_forgets_the_spread_between_runs():
    """The same data: as models they differ, and as recipes nobody knows."""
    rng = np.random.default_rng(7)
    a = rng.random((3, 2_000)) + np.array([[0.0], [0.2], [0.1]])
    b = rng.random((3, 2_000)) + np.array([[0.1], [0.0], [0.3]])
    assert paired.compare_runs(a[:1], b[2:]).is_clear
    assert not paired.compare_runs(a, b).is_clear


def test_holms_p_values():
    """The example of Wright 1992, "Adjusted p-values for simultaneous inference"."""
    adjusted = paired.holm([0.015, 0.003, 0.025, 0.041])
    assert adjusted == pytest.approx([0.045, 0.012, 0.05, 0.05])
    assert paired.holm([]) == []
    assert paired.holm([0.9, 0.8]) == [1, 1]


def test_scipy_is_imported_by_comparisons_alone():
    for path in Path(paired.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            assert "scipy" not in ast.unparse(node).split("\n")[0], path.name
