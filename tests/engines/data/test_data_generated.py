"""Generated data: their densities and draws against independent references."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from engines.data import generated
from engines.data.dataset import Dataset, Standardizer, arrays_digest, dequantise
from engines.data.embedded import digits
from engines.errors import DataError


def _integral(log_density, low: float, high: float, steps: int) -> float:
    """Midpoint rule over a square."""
    edge = (np.arange(steps) + 0.5) * (high - low) / steps + low
    plane = np.stack(np.meshgrid(edge, edge), axis=-1).reshape(-1, 2)
    return float(np.exp(log_density(plane)).sum() * ((high - low) / steps) ** 2)


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_swiss_roll_has_the_distribution_of_scikit_learn(noise: float) -> None:
    from sklearn.datasets import make_swiss_roll

    theirs = make_swiss_roll(20_000, noise=noise, random_state=3)[0][:, [0, 2]]
    ours = generated.SwissRoll(noise).sample(np.random.default_rng(4), 20_000)
    assert ours.dtype == np.float32
    for direction in (0.0, 0.7, 1.6, 2.5):
        axis = np.array([np.cos(direction), np.sin(direction)])
        assert stats.ks_2samp(theirs @ axis, ours @ axis).pvalue > 1e-4
    # the KS test sees projections; the radius sees whether the spiral is wound as theirs is
    assert stats.ks_2samp(np.hypot(*theirs.T), np.hypot(*ours.T)).pvalue > 1e-4
    np.testing.assert_allclose(np.cov(theirs.T), np.cov(ours.T), atol=1.5)


def test_two_moons_have_the_distribution_of_scikit_learn() -> None:
    from sklearn.datasets import make_moons

    theirs, labels = make_moons(20_000, noise=0.1, random_state=3)
    ours, our_labels = generated.TwoMoons(0.1).sample_labelled(np.random.default_rng(4), 20_000)
    for label in (0, 1):
        for axis in (0, 1):
            assert (
                stats.ks_2samp(theirs[labels == label, axis], ours[our_labels == label, axis]).pvalue > 1e-4
            )


DENSITIES = [
    (generated.SwissRoll(0.5), -18.0, 18.0, 200),
    (generated.SwissRoll(0.2), -16.0, 16.0, 320),  # narrow enough for the search tree
    (generated.TwoMoons(0.1), -2.5, 3.0, 300),
    (generated.Rings(3, 0.15), -5.0, 5.0, 300),
    (generated.GaussianMixture.isotropic(np.array([[0.0, 1], [2, -1]]), 0.4), -4.0, 6.0, 300),
    (
        generated.GaussianMixture(
            np.array([0.2, 0.8]),
            np.array([[0.0, 0], [1, 2]]),
            np.array([[[1.0, 0.6], [0.6, 0.5]], [[0.3, -0.1], [-0.1, 0.8]]]),
        ),
        -6.0,
        7.0,
        300,
    ),
]


@pytest.mark.parametrize("distribution, low, high, steps", DENSITIES)
def test_densities_integrate_to_one(distribution, low: float, high: float, steps: int) -> None:
    assert _integral(distribution.log_density, low, high, steps) == pytest.approx(1.0, abs=2e-4)


@pytest.mark.parametrize("distribution, low, high, steps", DENSITIES)
def test_densities_belong_to_their_samples(distribution, low: float, high: float, steps: int) -> None:
    """E over draws of any g equals the integral of g times the density."""
    draws = distribution.sample(np.random.default_rng(0), 40_000).astype(np.float64)
    edge = (np.arange(steps) + 0.5) * (high - low) / steps + low
    plane = np.stack(np.meshgrid(edge, edge), axis=-1).reshape(-1, 2)
    weight = np.exp(distribution.log_density(plane)) * ((high - low) / steps) ** 2
    for test_function in (
        lambda x: np.sin(x[:, 0]),
        lambda x: np.cos(x[:, 1] * 2),
        lambda x: np.tanh(x[:, 0] * x[:, 1]),
    ):
        expected = float(weight @ test_function(plane))
        values = test_function(draws)
        assert values.mean() == pytest.approx(expected, abs=5 * values.std() / np.sqrt(len(draws)) + 1e-3)


def test_narrow_swiss_roll_density_agrees_with_direct_sum() -> None:
    roll = generated.SwissRoll(0.05)
    points = roll.sample(np.random.default_rng(1), 200).astype(np.float64)
    points[:20] += np.random.default_rng(2).normal(0, 1, (20, 2))  # off the curve too
    angle = np.linspace(roll.start, roll.end, 200_001)
    curve = np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=-1)
    direct = [
        np.logaddexp.reduce(-np.square(p - curve).sum(axis=1) / (2 * 0.05**2))
        - np.log(len(curve))
        - np.log(2 * np.pi * 0.05**2)
        for p in points
    ]
    np.testing.assert_allclose(roll.log_density(points), direct, atol=2e-3)


def test_mixture_agrees_with_scipy_in_three_dimensions() -> None:
    generator = np.random.default_rng(0)
    factors = generator.normal(size=(4, 3, 3))
    covariances = factors @ factors.transpose(0, 2, 1) + 0.1 * np.eye(3)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    means = generator.normal(size=(4, 3)) * 2
    mixture = generated.GaussianMixture(weights, means, covariances)
    points = generator.normal(size=(50, 3)) * 3
    terms = np.stack(
        [
            w * stats.multivariate_normal(m, c).pdf(points)
            for w, m, c in zip(weights, means, covariances, strict=True)
        ],
        axis=1,
    )
    np.testing.assert_allclose(mixture.log_density(points), np.log(terms.sum(axis=1)), rtol=1e-9)
    np.testing.assert_allclose(
        mixture.responsibilities(points), terms / terms.sum(axis=1, keepdims=True), atol=1e-12
    )
    draws = mixture.sample(generator, 200_000)
    np.testing.assert_allclose(draws.mean(axis=0), mixture.mean(), atol=0.05)
    np.testing.assert_allclose(np.cov(draws.T), mixture.covariance(), atol=0.25)


def test_mixture_after_scaling_and_diffusing_is_still_exact() -> None:
    mixture = generated.gaussian_mixture(components=5, spread=0.2).distribution
    shift, scale = np.array([0.3, -0.2]), np.array([0.7, 1.9])
    points = np.random.default_rng(0).normal(size=(40, 2))
    by_change_of_variables = mixture.log_density(points * scale + shift) + np.log(scale).sum()
    np.testing.assert_allclose(mixture.affine(shift, scale).log_density(points), by_change_of_variables)
    generator = np.random.default_rng(1)
    draws = np.sqrt(0.4) * mixture.sample(generator, 50_000) + np.sqrt(0.6) * generator.standard_normal(
        (50_000, 2)
    )
    fresh = mixture.diffused(0.4).sample(generator, 50_000)
    for axis in (0, 1):
        assert stats.ks_2samp(draws[:, axis], fresh[:, axis]).pvalue > 1e-4


def test_known_negative_entropies_of_the_standardised_swiss_roll() -> None:
    """Values measured by nearest neighbours: about -2.9 bits at noise 1.0, -1.2 at 0.3, 1.4 at 0.05."""
    for noise, bits in ((1.0, -2.9), (0.3, -1.2), (0.05, 1.4)):
        roll = generated.swiss_roll(noise=noise, test_size=5_000)
        assert roll.log_density is not None
        volume = Standardizer.fit(roll).log_volume(2)
        assert (roll.log_density(roll.test).mean() + volume) / np.log(2) == pytest.approx(bits, abs=0.1)


ALL = [generated.swiss_roll, generated.gaussian_mixture, generated.rings, generated.two_moons]


@pytest.mark.parametrize("function", ALL)
def test_seed_decides_everything(function) -> None:
    first, again, other = function(seed=5), function(seed=5), function(seed=6)
    assert first.digest == again.digest != other.digest
    assert not np.array_equal(first.train, other.train)
    # the test points do not move when only the training set grows
    np.testing.assert_array_equal(function(seed=5, train_size=50).test, first.test)
    assert first.sampler(np.random.default_rng(0), 7).shape == (7, 2)


@pytest.mark.parametrize("function", ALL)
def test_generated_data_can_be_sent_to_another_process(function) -> None:
    original = function(train_size=10, test_size=5)
    copy = pickle.loads(pickle.dumps(original))
    assert copy.digest == original.digest
    np.testing.assert_array_equal(copy.log_density(copy.test), original.log_density(original.test))


@pytest.mark.parametrize(
    "components, layout", [(1, "circle"), (1, "grid"), (2, "grid"), (7, "circle"), (9, "grid")]
)
def test_mixture_layouts_are_centred_and_apart(components: int, layout: str) -> None:
    data = generated.gaussian_mixture(components=components, layout=layout, spread=0.05)
    means = data.distribution.means
    assert means.shape == (components, 2)
    np.testing.assert_allclose((means.max(axis=0) + means.min(axis=0)) / 2, 0, atol=0.15)
    distances = np.linalg.norm(means[:, None] - means[None], axis=-1)[~np.eye(components, dtype=bool)]
    assert components == 1 or distances.min() > 0.4
    assert data.train_labels is not None
    assert data.train_labels.max() == components - 1
    assert np.linalg.norm(data.train - means[data.train_labels], axis=1).max() < 0.05 * 7


@pytest.mark.parametrize(
    "function, options",
    [
        (generated.swiss_roll, {"noise": -0.1}),
        (generated.swiss_roll, {"noise": float("nan")}),
        (generated.swiss_roll, {"noise": 1e-9}),
        (generated.swiss_roll, {"noise": "much"}),
        (generated.swiss_roll, {"train_size": 1}),
        (generated.swiss_roll, {"train_size": 10**12}),
        (generated.swiss_roll, {"seed": -1}),
        (generated.swiss_roll, {"seed": 1.5}),
        (generated.gaussian_mixture, {"components": 0}),
        (generated.gaussian_mixture, {"layout": "hexagon"}),
        (generated.gaussian_mixture, {"spread": 0}),
        (generated.rings, {"count": True}),
        (generated.two_moons, {"test_size": 0}),
    ],
)
def test_bad_options_name_themselves(function, options: dict) -> None:
    with pytest.raises(DataError, match=next(iter(options))) as caught:
        function(**options)
    assert "; give" in str(caught.value)


def test_swiss_roll_without_noise_has_no_density() -> None:
    roll = generated.swiss_roll(noise=0)
    assert roll.log_density is None
    radius = np.hypot(*roll.train.T)
    angle = np.arctan2(roll.train[:, 1], roll.train[:, 0])
    np.testing.assert_allclose(np.cos(radius - angle), 1, atol=1e-4)  # on the spiral t (cos t, sin t)


# --- the data set itself and its scaling --------------------------------------------------------------------


def test_digits_are_real_levels_in_a_fixed_split() -> None:
    from sklearn.datasets import load_digits

    data = digits(seed=1)
    assert data.digest == digits(seed=2).digest
    assert data.levels == 17 and data.train.max() == 16 and data.train.dtype == np.uint8
    assert len(data.train) + len(data.test) == 1797
    together = np.concatenate([data.train, data.test]).reshape(1797, 64)
    theirs = load_digits().data.astype(np.uint8)
    np.testing.assert_array_equal(
        together[np.lexsort(together.T)], theirs[np.lexsort(theirs.T)]
    )  # every image once, in one of the parts
    assert data.test_labels is not None
    assert np.bincount(data.test_labels).min() >= 30


def test_standardizer_scales_points_per_dimension_and_back() -> None:
    data = generated.swiss_roll(noise=0.3)
    scaler = Standardizer.fit(data)
    scaled = scaler.forward(data.train)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-4)
    np.testing.assert_allclose(scaler.inverse(scaled), data.train, atol=1e-4)
    assert scaler.log_volume(2) == pytest.approx(np.log(data.train.std(axis=0, dtype=np.float64)).sum())


def test_standardizer_knows_the_noise_of_dequantised_images() -> None:
    data = digits()
    scaler = Standardizer.fit(data)
    noisy = dequantise(data.train, np.random.default_rng(0))
    scaled = scaler.forward(noisy)
    assert scaled.mean() == pytest.approx(0, abs=2e-3)
    assert scaled.std() == pytest.approx(1, abs=2e-3)
    assert scaler.log_volume(64) == pytest.approx(64 * np.log(float(scaler.scale)))
    assert data.levels is not None
    np.testing.assert_array_equal(scaler.to_levels(scaled, data.levels), data.train)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_dequantising_stays_within_its_level(seed: int) -> None:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (20, 1, 16, 16), dtype=np.uint8)
    noisy = dequantise(images, generator)
    np.testing.assert_array_equal(np.floor(noisy), images)
    assert (noisy - images).std() == pytest.approx(12**-0.5, abs=0.02)


def test_nothing_to_scale_is_an_input_error() -> None:
    flat = Dataset(
        "flat", "Flat", np.ones((4, 2), np.float32), np.ones((1, 2), np.float32), "points", columns=("x", "y")
    )
    with pytest.raises(DataError, match=r'"x" has the same value'):
        Standardizer.fit(flat)
    grey = Dataset("grey", "Grey", np.ones((4, 1, 2, 2), np.uint8), np.ones((1, 1, 2, 2), np.uint8), "images")
    with pytest.raises(DataError, match=r"one single grey"):
        Standardizer.fit(grey)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=12), st.integers(0, 11))
def test_digest_sees_every_value_shape_and_type(values: list[int], position: int) -> None:
    array = np.array(values, dtype=np.uint8)
    changed = array.copy()
    changed[position % len(values)] ^= 1
    assert arrays_digest(array) == arrays_digest(array.copy())
    assert arrays_digest(array) != arrays_digest(changed)
    assert arrays_digest(array) != arrays_digest(array.astype(np.int8))
    assert arrays_digest(array) != arrays_digest(array[:, None])
    assert arrays_digest(array, None) != arrays_digest(array)


def test_dataset_refuses_what_is_no_data_set() -> None:
    good = np.zeros((3, 2), np.float32)
    for train, test, kind, columns in (
        (good.astype(np.float64), good, "points", ("x", "y")),
        (good, np.zeros((3, 3), np.float32), "points", ("x", "y")),
        (good, good, "images", ()),
        (good, good, "points", ("x",)),
    ):
        with pytest.raises(ValueError):
            Dataset("bad", "Bad", train, test, kind, columns=columns)
