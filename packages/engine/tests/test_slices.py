"""Weak slices: found where they are, and not where they are not."""

import itertools
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wandb_eval.engine.slices import conditions
from wandb_eval.engine.slices import search as searching
from wandb_eval.engine.slices.conditions import conditions_of
from wandb_eval.engine.slices.search import find_weak_slices, too_few_samples
from wandb_eval.engine.slices.sums import Slices

pytestmark = pytest.mark.once

SAMPLES, CLASSES = 2000, 10
FAST = {"num_permutations": 200}


def unrelated(rng, samples=SAMPLES):
    """12 properties, one of which follows the class, and how often a class is wrong."""
    classes = rng.integers(0, CLASSES, samples)
    properties = {f"p{i}": rng.normal(size=samples) for i in range(12)}
    properties["p0"] = classes + rng.normal(size=samples)
    properties["p1"] = rng.choice(["north", "south", "west"], samples)
    return properties, classes, np.linspace(0.02, 0.25, CLASSES)[classes]


def drawn(rng, rates):
    return (rng.random(len(rates)) < rates).astype(float)


def without_a_slice(seed):
    rng = np.random.default_rng(seed)
    properties, classes, rates = unrelated(rng)
    errors = drawn(rng, rates)
    return find_weak_slices(errors, properties, strata=classes, **FAST)


def tail_of_5_percent(rng):
    properties, _, _ = unrelated(rng)
    weak = properties["p5"] < np.quantile(properties["p5"], 0.05)
    return properties, np.where(weak, 0.3, 0.1)


def two_tails_of_30_percent(rng):
    properties, _, _ = unrelated(rng)
    weak = properties["p5"] < np.quantile(properties["p5"], 0.3)
    weak &= properties["p7"] > np.quantile(properties["p7"], 0.7)
    return properties, np.where(weak, 0.25, 0.1)


def planted(plant, data, **options):
    """The slices that are found, and the true gap of each."""
    rng = np.random.default_rng(data)
    properties, rates = plant(rng)
    found = find_weak_slices(drawn(rng, rates), properties, **options)
    truth = []
    for one in found:
        mask = inside(one, len(rates))
        truth.append(rates[mask].mean() - rates[~mask].mean())
    return found, truth


def inside(one, samples):
    mask = np.zeros(samples, bool)
    mask[one.index] = True
    return mask


def test_hardly_anything_is_found_where_there_is_nothing():
    assert sum(bool(without_a_slice(seed)) for seed in range(10)) <= 1


@pytest.mark.slow
def test_in_5_percent_something_is_found_where_there_is_nothing():
    assert sum(bool(without_a_slice(1000 + seed)) for seed in range(200)) <= 10


@pytest.mark.parametrize(
    ("plant", "names"),
    [(tail_of_5_percent, ("p5",)), (two_tails_of_30_percent, ("p5", "p7"))],
)
def test_what_is_planted_is_found(plant, names):
    found = [planted(plant, seed, **FAST)[0] for seed in range(4)]
    first = [slices[0].properties for slices in found if slices]
    assert first.count(names) >= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "name", "share"),
    [(tail_of_5_percent, "p5", 0.9), (two_tails_of_30_percent, "p7", 0.85)],
)
def test_how_often_what_is_planted_is_found(plant, name, share):
    held, hits = [], 0
    for seed in range(100):
        found, truth = planted(plant, 5000 + seed)
        hits += any(name in one.properties for one in found)
        held += [one.at_least <= gap for one, gap in zip(found, truth, strict=True)]
    assert hits >= share * 100
    assert np.mean(held) >= 0.95


@pytest.mark.parametrize("weak_rate", [0.4, 0.9])
def test_the_bound_holds_where_errors_scatter_more_in_the_slice(weak_rate):
    """2 % wrong elsewhere: there, errors scatter up to four times less."""
    held = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        camera = np.where(np.arange(600) < 40, "north", "south")
        rates = np.where(camera == "north", weak_rate, 0.02)
        [one] = find_weak_slices(drawn(rng, rates), {"camera": camera}, **FAST)
        held.append(one.at_least <= weak_rate - 0.02)
    assert np.mean(held) >= 0.95


def test_a_bound_within_strata_is_called_so():
    """Most of the slice is of an easy class, so its error is below that elsewhere."""
    rng = np.random.default_rng(0)
    easy = np.r_[np.ones(1800), np.zeros(200), np.ones(2000), np.zeros(6000)] > 0
    inside = np.arange(10_000) < 2000
    rates = np.where(easy, np.where(inside, 0.3, 0.05), np.where(inside, 0.8, 0.6))
    errors, properties = drawn(rng, rates), {"wet": inside}
    one = find_weak_slices(errors, properties, strata=easy, **FAST)[0]
    assert one.error < one.error_elsewhere
    assert str(one).endswith(f"at least {one.at_least:.2g} more within strata")
    errors = drawn(rng, np.where(inside, 0.5, 0.1))
    [one] = find_weak_slices(errors, properties, **FAST)
    assert str(one).endswith(f"at least {one.at_least:.2g} more")


def test_slices_that_stronger_ones_cover_together_are_left_out():
    rng = np.random.default_rng(0)
    part = np.repeat(["a", "b", "c", "d"], [2000, 2000, 1000, 5000])
    is_x = np.zeros(10_000, bool)
    is_x[:450] = is_x[2000:2450] = is_x[4000:4100] = True
    weak = np.isin(part, ["a", "b"]) | is_x
    errors = drawn(rng, np.where(weak, 0.8, 0.05))
    properties = {"part": part, "q": np.where(is_x, "x", "y")}
    found = [one.text for one in find_weak_slices(errors, properties, **FAST)]
    assert {"part is 'a'", "part is 'b'"} <= set(found)
    assert "q is 'x'" not in found


CATEGORIES = {
    "a string": (["day", "night"], "night", "what is 'night'"),
    "bytes": ([b"day", b"night"], b"night", "what is 'night'"),
    "a bool": ([False, True], True, "what is True"),
    "a whole number": ([0, 1, 2, 3, 4], 2, "what is 2"),
    "None among strings": (["day", "night", None], None, "what is missing"),
    "NaN among strings": (["day", "night", np.nan], np.nan, "what is missing"),
    "None among bools": ([False, True, None], None, "what is missing"),
    "None among numbers": ([1.5, 2.25, None], None, "what is missing"),
}


@pytest.mark.parametrize(
    ("values", "weak", "text"), CATEGORIES.values(), ids=CATEGORIES
)
def test_each_kind_of_category(values, weak, text):
    rng = np.random.default_rng(3)
    places = rng.integers(0, len(values), 1000)
    is_weak = np.array([values[place] is weak for place in places])
    errors = drawn(rng, np.where(is_weak, 0.5, 0.1))
    column = [values[place] for place in places]
    [one] = find_weak_slices(errors, {"what": column, "p": rng.normal(size=1000)})
    assert one.text == text
    assert one.index.tolist() == np.flatnonzero(is_weak).tolist()


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_missing_numbers_are_a_category_of_their_own(missing):
    rng = np.random.default_rng(0)
    depth = rng.normal(size=1000).astype(np.float32)
    depth[:80] = missing
    errors = drawn(rng, np.where(np.arange(1000) < 80, 0.6, 0.1))
    [one] = find_weak_slices(errors, {"depth": depth})
    assert one.text == "depth is missing"
    assert one.index.tolist() == list(range(80))


def test_what_a_slice_says_is_true_of_its_samples():
    found, _ = planted(two_tails_of_30_percent, 1)
    rng = np.random.default_rng(1)
    properties, rates = two_tails_of_30_percent(rng)
    errors = drawn(rng, rates)
    [one] = found
    low, high = map(
        float, re.fullmatch(r"p5 below (\S+) and p7 above (\S+)", one.text).groups()
    )
    mask = (properties["p5"] < low) & (properties["p7"] > high)
    assert one.properties == ("p5", "p7")
    assert one.index.dtype == np.int64
    assert one.index.tolist() == np.flatnonzero(mask).tolist()
    assert one.num_samples == mask.sum()
    assert one.share == pytest.approx(mask.mean())
    assert one.error == pytest.approx(errors[mask].mean())
    assert one.error_elsewhere == pytest.approx(errors[~mask].mean())
    assert one.gap == pytest.approx(one.error - one.error_elsewhere)
    assert 0 < one.at_least < one.gap
    assert 0 < one.p_value <= 0.05
    assert len(one.text) < 40


def test_errors_of_any_range_and_scale():
    rng = np.random.default_rng(5)
    brightness = rng.random(1000)
    errors = rng.gamma(2, 1, 1000) * np.where(brightness < 0.1, 2, 1)
    [one] = find_weak_slices(errors, {"brightness": brightness})
    assert one.properties == ("brightness",)
    for scale in (1e-9, 1e9):
        [scaled] = find_weak_slices(scale * errors, {"brightness": brightness})
        assert scaled.text == one.text
        assert scaled.at_least == pytest.approx(scale * one.at_least)
        assert scaled.p_value == one.p_value


@pytest.mark.parametrize("constant", [0, 0.1, 1, 1e6])
def test_errors_that_are_all_equal_have_no_slices(constant):
    properties, classes, _ = unrelated(np.random.default_rng(0), 500)
    errors = np.full(500, constant)
    assert find_weak_slices(errors, properties) == []
    assert find_weak_slices(errors, properties, strata=classes) == []


def test_samples_without_an_error_are_left_out():
    rng = np.random.default_rng(0)
    camera = rng.choice(["north", "south"], 1000)
    errors = drawn(rng, np.where(camera == "north", 0.5, 0.1))
    without = rng.random(1000) < 0.2
    expected = find_weak_slices(errors[~without], {"camera": camera[~without]})
    errors[without] = np.nan
    found = find_weak_slices(errors, {"camera": camera})
    assert found == expected != []
    assert found[0].index.tolist() == [
        place for place in np.flatnonzero(camera == "north") if not without[place]
    ]


def test_an_infinite_error_counts_as_the_largest_finite_one():
    rng = np.random.default_rng(0)
    camera = np.where(np.arange(1000) < 100, "north", "south")
    errors = rng.random(1000) + (camera == "north")
    largest = errors.copy()
    largest[:3] = errors[3:].max()
    errors[:3] = np.inf
    found = find_weak_slices(errors, {"camera": camera})
    assert found == find_weak_slices(largest, {"camera": camera}) != []


def test_a_property_is_not_blamed_for_what_a_class_does():
    rng = np.random.default_rng(0)
    classes = rng.choice(["cat", "dog", "owl", None], 2000)
    brightness = rng.normal(size=2000) - 2 * (classes == "owl")
    errors = drawn(rng, np.where(classes == "owl", 0.5, 0.1))
    properties = {"brightness": brightness}
    assert find_weak_slices(errors, properties) != []
    assert find_weak_slices(errors, properties, strata=classes) == []


def test_within_classes_a_weak_property_is_found():
    rng = np.random.default_rng(0)
    properties, classes, rates = unrelated(rng)
    weak = properties["p5"] < np.quantile(properties["p5"], 0.1)
    errors = drawn(rng, rates + 0.25 * weak)
    one, *_ = find_weak_slices(errors, properties, strata=classes)
    assert one.properties == ("p5",)
    assert one.at_least < 0.25 < one.gap + 0.1


@pytest.mark.parametrize("samples", [0, 1, 299])
def test_too_few_samples_are_said_to_be(samples):
    camera = np.where(np.arange(samples) < 100, "north", "south")
    errors = (camera == "north").astype(float)
    assert find_weak_slices(errors, {"camera": camera}) == []
    assert f"Received: {samples}." in too_few_samples(errors)


def test_enough_samples():
    camera = np.where(np.arange(300) < 100, "north", "south")
    errors = (camera == "north").astype(float)
    assert too_few_samples(errors) is None
    assert [one.text for one in find_weak_slices(errors, {"camera": camera})] == [
        "camera is 'north'"
    ]
    errors[0] = np.nan
    assert "Received: 299." in too_few_samples(errors)
    assert find_weak_slices(errors, {"camera": camera}) == []
    assert find_weak_slices(errors, {}) == []


def test_the_same_seed_finds_the_same():
    first, again = (planted(tail_of_5_percent, 3, seed=7)[0] for _ in range(2))
    other = planted(tail_of_5_percent, 3, seed=8)[0]
    assert first == again != other
    assert [one.text for one in first] == [one.text for one in other]


def test_one_weakness_is_said_once():
    """Its wider tails and its pairs are weak, too, and say nothing more."""
    rng = np.random.default_rng(0)
    properties, _, _ = unrelated(rng, 5000)
    dark = properties["p5"] < np.quantile(properties["p5"], 0.05)
    found = find_weak_slices(drawn(rng, np.where(dark, 0.7, 0.1)), properties)
    assert [one.properties for one in found] == [("p5",)]


def test_two_weaknesses_are_both_said():
    rng = np.random.default_rng(0)
    properties, _, _ = unrelated(rng, 5000)
    dark = properties["p5"] < np.quantile(properties["p5"], 0.1)
    north = properties["p1"] == "north"
    rates = 0.1 + 0.4 * dark + 0.15 * north
    found = find_weak_slices(drawn(rng, rates), properties)
    assert {("p5",), ("p1",)} <= {one.properties for one in found}
    for place, one in enumerate(found):
        for stronger in found[:place]:
            common = np.intersect1d(one.index, stronger.index)
            assert 2 * len(common) <= len(one.index)
    assert len(find_weak_slices(drawn(rng, rates), properties, max_slices=1)) == 1
    assert find_weak_slices(drawn(rng, rates), properties, max_slices=0) == []


def test_a_gap_must_matter():
    rng = np.random.default_rng(0)
    camera = rng.choice(["north", "south"], 20_000)
    errors = rng.normal(10, 1, 20_000) + (camera == "north")
    assert find_weak_slices(errors, {"camera": camera}) == []
    assert len(find_weak_slices(errors, {"camera": camera}, min_gap=0.05)) == 1


def test_what_follows_mechanically_is_marked():
    rng = np.random.default_rng(0)
    objects = rng.integers(1, 20, 1000)
    errors = drawn(rng, np.where(objects > 15, 0.6, 0.1))
    properties = {"num_objects": objects, "p": rng.normal(size=1000)}
    [one] = find_weak_slices(errors, properties)
    assert not one.mechanical
    [one] = find_weak_slices(errors, properties, mechanical=["num_objects"])
    assert one.mechanical


WRONG = {
    "lengths": ({"properties": {"p": [1.0] * 399}}, "'p' must have one value"),
    "strata": ({"strata": [0] * 10}, "'strata' must have one value"),
    "shape": ({"properties": {"p": np.zeros((400, 2))}}, "'p' must have one value"),
    "kind": ({"properties": {"p": [{}] * 400}}, "numbers, strings or bools"),
    "complex": ({"properties": {"p": np.zeros(400, complex)}}, "numbers, strings"),
    "errors": ({"errors": np.zeros((400, 2))}, "`errors` must have one number"),
    "negative": ({"errors": np.full(400, -0.5)}, "must be 0 or more. Received: -0.5"),
    "permutations": ({"num_permutations": 5}, "`num_permutations` must be 19 or more"),
    "confidence": ({"confidence": 1}, "`confidence` must be between 0 and 1"),
    "gap": ({"min_gap": -1}, "`min_gap` must be 0 or more. Received: -1"),
    "slices": ({"max_slices": -1}, "`max_slices` must be 0 or more"),
}


@pytest.mark.parametrize(("changed", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(changed, message):
    arguments = {"errors": np.zeros(400), "properties": {"p": np.arange(400)}}
    with pytest.raises(ValueError, match=re.escape(message)):
        find_weak_slices(**{**arguments, **changed})


def meets(text, values):
    """Whether each sample meets a condition, read from its words alone."""
    _, word, limit = text.split(" ", 2)
    if limit == "missing":
        return np.array([value is None or str(value) == "nan" for value in values])
    if word == "is":
        return np.array(
            [value is not None and value == eval(limit) for value in values]
        )
    compare = {"below": float.__lt__, "above": float.__gt__}[word]
    return np.array(
        [value is not None and compare(float(value), float(limit)) for value in values]
    )


NUMBERS = st.one_of(
    st.floats(-1e6, 1e6), st.integers(-3, 3), st.none(), st.just(float("nan"))
)
STRINGS = st.sampled_from(["a", "b", "it's", "", None])


@settings(max_examples=50, deadline=None)
@given(
    st.one_of(
        st.lists(NUMBERS, min_size=20, max_size=80),
        st.lists(st.integers(-5, 5), min_size=20, max_size=80),
        st.lists(STRINGS, min_size=20, max_size=80),
    )
)
def test_conditions_are_what_they_say(values):
    found = conditions_of("p", values, least=2)
    for place, text in enumerate(found.texts):
        mask = found.mask(place)
        assert mask.tolist() == meets(text, values).tolist(), text
        assert 2 <= mask.sum() < len(values)
    assert len({found.mask(i).tobytes() for i in range(len(found.texts))}) == len(
        found.texts
    )


def test_a_string_of_each_sample_has_no_condition():
    names = [f"img_{i}" for i in range(2_000)]
    names[:40] = ["the same"] * 40
    found = conditions._masks(conditions.column_of("file", names), least=40)
    texts = [text for _, text in found]
    assert texts == ["is 'the same'", "is missing"]


def test_tails_are_of_their_share_with_limits_of_few_digits():
    values = np.random.default_rng(0).normal(size=10_000)
    found = conditions_of("p", values, least=200)
    shares = sorted(found.mask(place).mean() for place in range(len(found.texts)))
    wanted = sorted([0.05, 0.1, 0.2, 0.25, 0.3, 0.5] * 2)[:-1]
    assert shares[:11] == pytest.approx(wanted, rel=0.051)
    assert max(len(text) for text in found.texts) <= len("p below -0.67")


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.booleans())
def test_gaps_are_those_of_loops_over_slices(seed, classes, binary):
    rng = np.random.default_rng(seed)
    samples = 120
    strata = rng.integers(0, classes, samples)
    errors = rng.random(samples)
    errors = (errors < 0.3).astype(float) if binary else errors
    columns = [
        conditions_of("x", rng.normal(size=samples), 10),
        conditions_of("camera", rng.choice(["north", "south", None], samples), 10),
        conditions_of("hour", rng.integers(0, 4, samples), 10),
        conditions_of("nothing", np.zeros(samples), 10),
    ]
    slices = Slices(columns)
    gaps = searching._measure(slices, errors, strata)
    search = searching._Search(slices, errors, strata, 10)
    maxima = search.maxima(30, np.random.default_rng(1))
    permuted = searching._permuted(
        searching._centred(errors, strata), strata, 30, np.random.default_rng(1)
    )
    largest = np.full((2, 30), -np.inf)
    expected = [
        *((a.texts[i], a.mask(i)) for a in columns for i in range(len(a.texts))),
        *(
            (f"{a.texts[i]} and {b.texts[j]}", a.mask(i) & b.mask(j))
            for place, a in enumerate(columns)
            for b in columns[place + 1 :]
            for i in range(len(a.texts))
            for j in range(len(b.texts))
        ),
    ]
    assert [slices.text(number) for number in range(slices.count)] == [
        text for text, _ in expected
    ]
    singles = sum(len(column.texts) for column in columns)
    assert slices.num_singles == singles
    for number, (_, mask) in enumerate(expected):
        assert slices.mask(number).tolist() == mask.tolist()
        assert gaps.counts[number] == mask.sum()
        variance = contrast = third = 0.0
        for one in range(classes):
            here, within = strata == one, mask & (strata == one)
            n, m = here.sum(), within.sum()
            if n > 1:
                variance += errors[here].var() * m * (n - m) / (n - 1)
                contrast += m * (n - m) / n
            if n > 2:
                cubes = ((errors[here] - errors[here].mean()) ** 3).mean()
                third += cubes * m * (n - m) * (n - 2 * m) / ((n - 1) * (n - 2))
        assert gaps.variance[number] == pytest.approx(variance, abs=1e-9)
        assert gaps.contrast[number] == pytest.approx(contrast, abs=1e-9)
        if contrast > 1e-6:
            # The coefficient of a linear model with a mean for each class.
            model = np.column_stack(
                [mask, *(strata == one for one in np.unique(strata))]
            ).astype(float)
            gap = np.linalg.lstsq(model, errors, rcond=None)[0][0]
            assert gaps.excess[number] / contrast == pytest.approx(gap, abs=1e-9)
        if mask.sum() >= 10 and contrast >= 5 and variance > 1e-6:
            skewness = third / variance**1.5
            assert gaps.skewness[number] == pytest.approx(skewness, abs=1e-6)
            deviations = permuted[mask].sum(axis=0) / np.sqrt(variance)
            kind = int(number >= singles)
            scores = normal_scores(deviations, skewness)
            largest[kind] = np.maximum(largest[kind], scores)
    assert maxima == pytest.approx(largest, rel=1e-4, abs=1e-4)


def normal_scores(deviations, skewness):
    """Wilson and Hilferty's, of a gamma distribution with this skewness."""
    if skewness < 0:
        return -normal_scores(-deviations, -skewness)
    shape = 4 / max(skewness, 1e-4) ** 2
    roots = np.cbrt((shape + np.sqrt(shape) * deviations) / shape)
    return (roots - (1 - 1 / (9 * shape))) * np.sqrt(9 * shape)


def test_the_skewness_is_that_of_all_permutations():
    rng = np.random.default_rng(0)
    strata = np.array([0] * 6 + [1] * 5)
    mask = np.array([1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0], bool)
    errors = rng.exponential(size=11)
    slices = Slices([conditions_of("x", mask.tolist(), 1)])
    gaps = searching._measure(slices, errors, strata)
    found = [
        errors[[*one, *other]].sum()
        for one in itertools.combinations(range(6), 2)
        for other in itertools.combinations(range(6, 11), 3)
    ]
    [place] = [i for i in range(slices.count) if slices.text(i) == "x is True"]
    assert gaps.variance[place] == pytest.approx(np.var(found))
    assert gaps.skewness[place] == pytest.approx(stats.skew(found))


@pytest.mark.parametrize("inside", [40, 100, 400])
def test_scores_of_skewed_sums_are_nearly_normal(inside):
    """The number of wrong samples in a slice, where 200 of 2,000 are wrong."""
    chance = stats.hypergeom(2000, 200, inside)
    skewness = float(chance.stats("s"))
    counts = np.arange(inside)
    counts = counts[(chance.sf(counts - 1) < 1e-2) & (chance.sf(counts - 1) > 1e-5)]
    deviations = (counts - 0.5 - chance.mean()) / chance.std()
    scores = searching._to_normal(deviations, np.float64(skewness))
    ratios = stats.norm.sf(scores) / chance.sf(counts - 1)
    assert 0.8 < ratios.min() <= ratios.max() < 2.5
    if inside < 400:  # Without the skewness, up to 15 times too improbable.
        assert (stats.norm.sf(deviations) / chance.sf(counts - 1)).min() < 0.3
    back = searching._from_normal(scores, np.float64(skewness))
    assert back == pytest.approx(deviations)


def test_permuted_errors_stay_within_their_strata():
    rng = np.random.default_rng(0)
    strata = rng.integers(0, 5, 200)
    permuted = searching._permuted(np.arange(200.0), strata, 7, rng)
    for column in permuted.T:
        assert sorted(column) == list(range(200))
        assert (strata[column.astype(int)] == strata).all()
    assert len({column.tobytes() for column in permuted.T}) == 7


def test_memory_is_bounded():
    rng = np.random.default_rng(0)
    samples = 50_000
    properties = {f"p{i}": rng.normal(size=samples) for i in range(12)}
    errors = rng.random(samples)
    tracemalloc.start()
    find_weak_slices(
        errors, properties, num_permutations=60, strata=rng.integers(0, 50, samples)
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Errors permuted 60 times are 24 MB, and all slices of all samples would be 7 GB.
    assert peak < 100e6
