"""Augmentations: what each does to pictures, against SciPy, and the statistics of its numbers."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from array_api_compat import numpy as xp

from xpnet import open_backend
from xpnet.augment import (
    AUGMENTATIONS,
    Affine,
    Augmentation,
    Augmenter,
    Brightness,
    Compose,
    Contrast,
    Crop,
    CutMix,
    Cutout,
    Elastic,
    Flip,
    Mixup,
    Noise,
    Random,
    Shift,
    Sometimes,
    Warp,
    augmentations_from,
    checked_augmentation,
    picture_shape,
)
from xpnet.augment.mixing import LEVELS, beta_levels
from xpnet.augment.warps import bilinear, smooth_basis
from xpnet.random import derive, stream
from xpnet.testing import GradientError, check_augmentation

pytestmark = pytest.mark.numerics

EXAMPLES = [
    one for kind in (*AUGMENTATIONS.values(), Compose, Sometimes) for one in kind.examples()
]
each_example = pytest.mark.parametrize("augmentation", EXAMPLES, ids=repr)


def random_of(augmentation, n, shape, *, step=0, seed=0, path=(), dtype="float64"):
    return Random(
        seed=derive(seed, "augmentation"),
        step=step,
        rows=np.arange(n, dtype=np.int32),
        dtype=np.dtype(dtype),
        index_dtype=np.dtype(np.int64),
        constants=dict(augmentation.constants(shape, dtype)),
        path=path,
    )


def apply(augmentation, x, y=None, **options):
    """An augmentation of a whole batch, on NumPy."""
    k, n = augmentation.neighbours, len(x)
    y = np.zeros(n, dtype=np.int64) if y is None else y
    rows = np.arange(-k, n) % n
    random = random_of(augmentation, n, x.shape[1:], **options)._replace(rows=rows.astype(np.int32))
    return augmentation.apply(xp, x[rows], y[rows], random)


def pictures(n=5, height=9, width=7, channels=1, seed=0):
    return stream(seed, "pictures").uniform(size=(n, height, width, channels))


@each_example
def test_each_keeps_to_the_contract(augmentation):
    check_augmentation(augmentation).raise_if_wrong()
    check_augmentation(augmentation, shape=(6, 8, 3)).raise_if_wrong()


@each_example
def test_pictures_of_a_single_row_are_pictures(augmentation):
    report = check_augmentation(augmentation, shape=(1, 9, 1))
    # Where half of a row is none, nothing may be left that is random.
    assert {check.what for check in report.checks if not check.ok} <= {"random"}


# -- the same on every library ------------------------------------------------------------------


@each_example
def test_the_same_pictures_on_every_library(augmentation, backend):
    x, labels = pictures(6, 8, 8), np.arange(6) % 3
    here = open_backend("numpy", None, "float64")

    def made(on):
        augmenter = Augmenter(
            augmentation, (8, 8), seed=5, dtype="float64", asarray=on.asarray,
            index_dtype=on.index_dtype, n_classes=3,
        )  # fmt: skip
        rows = augmenter.with_neighbours(on.xp, on.asarray(np.arange(6), dtype=on.index_dtype))
        batch = on.xp.take(on.asarray(x[..., 0]), rows, axis=0)
        target = on.xp.take(on.asarray(labels, dtype=on.index_dtype), rows, axis=0)
        step = on.asarray(7, dtype=on.xp.int32)
        found = augmenter(on.xp, batch, target, None, step=step, count=6, first_row=0)
        return [on.to_numpy(found[0]), on.to_numpy(found[1])]

    for one, other in zip(made(backend), made(here), strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() < 1e-12


def test_overrides_of_numpy_gather_the_same_rows():
    from xpnet.operations import gather_rows

    x, rows = stream(0).normal(size=(5, 2)), np.array([4, 0, 0, 3])
    assert np.array_equal(gather_rows(open_backend("numpy").xp, x, rows), x[rows])
    assert np.array_equal(gather_rows(xp, x, rows), x[rows])


# -- deformations, against SciPy ----------------------------------------------------------------


@dataclass(frozen=True)
class Far(Warp):
    """Places far outside as well, drawn for each pixel."""

    edge: str = "zero"

    def move(self, xp, places, shape, random):
        size = shape[0] * shape[1]
        by = random.uniform(xp, "by", 2 * size, -6, 6)
        return places[0] + by[:, :size], places[1] + by[:, size:]


@pytest.mark.parametrize(("edge", "mode"), [("zero", "grid-constant"), ("nearest", "nearest")])
@pytest.mark.parametrize("size", [(9, 7), (1, 6), (5, 1), (2, 2)])
def test_bilinear_is_that_of_scipy(edge, mode, size):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = pictures(4, *size, 3)
    places = stream(1).uniform(-4, 12, size=(2, 4, size[0] * size[1]))
    found = bilinear(xp, x, tuple(places), edge, random_of(Affine(), 4, x.shape[1:]))
    for i in range(4):
        for channel in range(3):
            wanted = ndimage.map_coordinates(x[i, ..., channel], places[:, i], order=1, mode=mode)
            assert found[i, ..., channel].reshape(-1) == pytest.approx(wanted, abs=1e-13)


@pytest.mark.parametrize(("edge", "mode"), [("zero", "grid-constant"), ("nearest", "nearest")])
def test_affine_is_that_of_scipy(edge, mode):
    """By the matrices that its own numbers make, put together here in the other direction."""
    ndimage = pytest.importorskip("scipy.ndimage")
    augmentation = Affine(30, 0.3, 20, 0.2, edge)
    x = pictures(6, 11, 8)
    found, _ = apply(augmentation, x)
    numbers = random_of(augmentation, 6, x.shape[1:]).uniform(xp, "numbers", 6, -1, 1)
    middle, size = np.array([5.0, 3.5]), np.array([11, 8])
    for i, (turn, tall, wide, slant, down, right) in enumerate(numbers):
        angle, slanted = np.deg2rad(30 * turn), np.tan(np.deg2rad(20 * slant))
        shear = np.array([[1, 0], [-slanted, 1]])
        scale = np.diag([1 + 0.3 * tall, 1 + 0.3 * wide])
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        forth = rotation @ scale @ shear
        back = np.linalg.inv(forth)
        offset = middle - back @ (middle + 0.2 * size * [down, right])
        wanted = ndimage.affine_transform(x[i, ..., 0], back, offset, order=1, mode=mode)
        assert found[i, ..., 0] == pytest.approx(wanted, abs=1e-12)


def test_a_picture_is_turned_enlarged_and_moved_in_the_ranges_that_are_said():
    """Where the middle of mass goes, and how far two spots are apart."""
    x = np.zeros((400, 41, 41, 1))
    x[:, 20, 14], x[:, 20, 26] = 1, 2
    turned, _ = apply(Affine(25, 0, 0, 0), x)
    at = np.arange(41)

    def centre(pictures, weight):
        return (pictures * weight).sum(axis=(1, 2, 3)) / pictures.sum(axis=(1, 2, 3))

    down = centre(turned, at[None, :, None, None]) - 20
    across = centre(turned, at[None, None, :, None]) - 20
    angles = np.rad2deg(np.arctan2(down, across))
    assert np.abs(angles).max() == pytest.approx(25, abs=1)
    assert abs(angles.mean()) < 3
    moved, _ = apply(Affine(0, 0, 0, 0.1), x)
    far = centre(moved, at[None, :, None, None]) - 20
    assert np.abs(far).max() == pytest.approx(4.1, abs=0.1)
    larger, _ = apply(Affine(0, 0.2, 0, 0), x)
    apart = (centre(larger, at[None, None, :, None]) - 20) / 2
    assert (apart.min(), apart.max()) == pytest.approx((0.8, 1.2), abs=0.05)


def test_what_is_displaced_is_that_of_smoothed_noise():
    """The covariance of the field is that of white noise after SciPy's Gaussian filter."""
    ndimage = pytest.importorskip("scipy.ndimage")
    side, smoothness = 20, 0.15
    basis = smooth_basis(side, side, smoothness)
    smooth = np.stack([
        ndimage.gaussian_filter(row.reshape(side, side), smoothness * side, mode="reflect",
                                truncate=8).reshape(-1)
        for row in np.eye(side * side)
    ])  # fmt: skip
    wanted = smooth.T @ smooth
    wanted /= np.trace(wanted) / side**2
    found = basis.T @ basis
    assert np.trace(found) == pytest.approx(side**2)
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_pixels_are_displaced_as_far_as_is_said():
    augmentation = Elastic(0.05, 0.2)
    random = random_of(augmentation, 3000, (20, 30, 1))
    places = augmentation.move(xp, (0.0, 0.0), (20, 30, 1), random)
    assert math.sqrt((places[0] ** 2).mean()) == pytest.approx(1.0, rel=0.03)
    assert math.sqrt((places[1] ** 2).mean()) == pytest.approx(1.5, rel=0.03)
    assert np.corrcoef(places[0][:, 0], places[1][:, 0])[0, 1] == pytest.approx(0, abs=0.06)


def test_deformations_that_follow_each_other_are_one():
    x = pictures(3, 12, 12)
    first, second = Affine(20, edge="nearest"), Affine(0, 0, 0, 0.2, edge="nearest")
    both = Compose((first, second))
    found, _ = apply(both, x)

    def own(name):
        return random_of(both, 3, x.shape[1:], path=(name,))

    grid = np.indices((12, 12)).reshape(2, 1, -1).astype(float)
    # What the second one shows at a place, it takes from where the first one has it.
    places = first.move(xp, second.move(xp, tuple(grid), (12, 12, 1), own("affine-2")),
                        (12, 12, 1), own("affine"))  # fmt: skip
    wanted = bilinear(xp, x, places, "nearest", own("affine"))
    assert found == pytest.approx(wanted, abs=1e-12)
    twice = second.apply(xp, first.apply(xp, x, None, own("affine"))[0], None, own("affine-2"))
    assert not np.allclose(found, twice[0])


def test_another_edge_or_what_is_no_deformation_stands_between_them():
    x = pictures(3, 12, 12)
    for between in (Affine(edge="nearest"), Flip(1.0)):
        whole = Compose((Elastic(), between, Elastic()))
        found, _ = apply(whole, x)
        step = x
        random = random_of(whole, 3, x.shape[1:])
        for name, part in whole.parts().items():
            step, _ = part.apply(xp, step, None, random.inside(name))
        assert np.array_equal(found, step)


# -- what moves whole pixels --------------------------------------------------------------------


@pytest.mark.parametrize("edge", ["zero", "nearest"])
@pytest.mark.parametrize("kind", [lambda edge: Shift(0.3, 0.5, edge), lambda edge: Crop(0.3, edge)])
def test_shifts_and_crops_are_slices_of_padded_pictures(edge, kind):
    augmentation = kind(edge)
    x = pictures(300, 10, 6, 2)
    found, _ = apply(augmentation, x)
    far = (3, 3 if isinstance(augmentation, Shift) else 2)
    pads = ((0, 0), (far[0], far[0]), (far[1], far[1]), (0, 0))
    padded = np.pad(x, pads, mode="edge" if edge == "nearest" else "constant")
    seen = set()
    for i in range(300):
        places = [
            (a, b)
            for a in range(2 * far[0] + 1)
            for b in range(2 * far[1] + 1)
            if np.array_equal(padded[i, a : a + 10, b : b + 6], found[i])
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == (2 * far[0] + 1) * (2 * far[1] + 1)


def test_flips_are_mirrors():
    x = pictures(400, 4, 5)
    found, _ = apply(Flip(0.25, 0.5), x)
    kinds = [x, x[:, :, ::-1], x[:, ::-1], x[:, ::-1, ::-1]]
    which = np.array([[np.array_equal(k[i], found[i]) for k in kinds] for i in range(400)])
    assert (which.sum(axis=1) == 1).all()
    assert which.mean(axis=0) == pytest.approx([0.375, 0.125, 0.375, 0.125], abs=0.07)
    assert np.array_equal(apply(Flip(1.0), x)[0], x[:, :, ::-1])
    assert np.array_equal(apply(Flip(0.0), x)[0], x)


# -- values -------------------------------------------------------------------------------------


def test_noise_brightness_and_contrast_have_the_distributions_that_are_said():
    x = np.full((2000, 4, 3, 1), 0.5)
    x[:, 0] = 0.1
    noise = apply(Noise(0.2), x)[0] - x
    stats = pytest.importorskip("scipy.stats")
    assert stats.kstest(noise.reshape(-1) / 0.2, "norm").pvalue > 1e-3
    bright = apply(Brightness(0.3), x)[0] / x
    assert np.ptp(bright, axis=(1, 2)).max() < 1e-12
    assert stats.kstest(bright[:, 0, 0, 0], "uniform", args=(0.7, 0.6)).pvalue > 1e-3
    contrast = apply(Contrast(0.4), x)[0]
    mean = x.mean(axis=(1, 2), keepdims=True)
    assert contrast.mean(axis=(1, 2, 3)) == pytest.approx(mean.reshape(-1))
    factor = (contrast - mean) / (x - mean)
    assert np.ptp(factor, axis=(1, 2)).max() < 1e-12
    assert stats.kstest(factor[:, 0, 0, 0], "uniform", args=(0.6, 0.8)).pvalue > 1e-3


def test_what_is_cut_out_is_a_rectangle_about_any_pixel():
    found, _ = apply(Cutout(0.5), np.ones((500, 8, 6, 2)))
    holes = 1 - found
    assert set(np.unique(holes)) == {0.0, 1.0}
    down, across = holes[..., 0].any(axis=2).sum(axis=1), holes[..., 0].any(axis=1).sum(axis=1)
    assert (holes.sum(axis=(1, 2, 3)) == 2 * down * across).all()
    assert (down.min(), down.max(), across.max()) == (2, 4, 3)
    middle = holes[..., 0].mean(axis=0)
    assert middle[4, 3] == pytest.approx(4 / 8 * 3 / 6, abs=0.07)


def test_the_uniform_numbers_and_the_integers_are_such():
    stats = pytest.importorskip("scipy.stats")
    random = random_of(Noise(), 5000, (4,))
    u = random.uniform(xp, "u", 3)
    assert stats.kstest(u.reshape(-1), "uniform").pvalue > 1e-3
    assert np.abs(np.corrcoef(u.T) - np.eye(3)).max() < 0.05
    assert not np.array_equal(u, random.uniform(xp, "v", 3))
    counts = np.bincount(random.integers(xp, "i", 2, 7).reshape(-1), minlength=7)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert random.chance(xp, "c", 0.3).mean() == pytest.approx(0.3, abs=0.03)
    assert not random.chance(xp, "c", 0.0).any()
    assert random.chance(xp, "c", 1.0).all()
    single = random._replace(dtype=np.dtype("float32"))
    assert np.array_equal(single.uniform(xp, "u", 3), u)


# -- mixing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0, 100.0])
def test_the_levels_are_quantiles_of_the_beta_distribution(alpha):
    stats = pytest.importorskip("scipy.stats")
    wanted = (np.arange(LEVELS) + 0.5) / LEVELS
    levels = beta_levels(alpha)
    found = stats.beta(alpha, alpha).cdf(levels)
    half = LEVELS // 2  # above it some differ from 1 by less than a float can say
    assert np.abs(found - wanted)[:half].max() < 2e-4
    assert np.array_equal(levels[half:], 1 - levels[:half][::-1])


def test_mixup_mixes_each_sample_with_the_one_before():
    x, y = pictures(200, 3, 3), np.eye(5)[stream(3).integers(5, size=200)]
    found, targets = apply(Mixup(1.0), x, y)
    before = np.roll(x, 1, axis=0), np.roll(y, 1, axis=0)
    part = ((found - before[0]) / (x - before[0]))[:, 0, 0, 0]
    assert found == pytest.approx(
        part[:, None, None, None] * x + (1 - part)[:, None, None, None] * before[0]
    )
    assert targets == pytest.approx(part[:, None] * y + (1 - part)[:, None] * before[1])
    assert (part.min() > 0, part.max() < 1) == (True, True)
    assert part.mean() == pytest.approx(0.5, abs=0.08)


def test_cutmix_mixes_targets_by_the_pixels():
    x = np.arange(300.0)[:, None, None, None] + np.zeros((1, 6, 8, 1))
    y = np.arange(300.0)[:, None]
    found, targets = apply(CutMix(), x, y)
    before = np.roll(x, 1, axis=0)
    taken = found == before
    assert (taken | (found == x)).all()
    assert targets[:, 0] == pytest.approx(found.mean(axis=(1, 2, 3)))
    down, across = taken.any(axis=(2, 3)).sum(axis=1), taken.any(axis=(1, 3)).sum(axis=1)
    assert (taken.sum(axis=(1, 2, 3)) == down * across).all()
    assert taken.mean() == pytest.approx(0.37, abs=0.08)  # of a half, what is in the picture


def test_labels_become_rows_and_weights_are_mixed_with_them():
    """The weighted loss of a mixed sample is that of the two, as their parts are."""
    backend = open_backend("numpy", None, "float64")
    augmenter = Augmenter(
        Mixup(1.0), (3,), seed=0, dtype="float64", asarray=backend.asarray,
        index_dtype=backend.index_dtype, n_classes=3,
    )  # fmt: skip
    x = stream(1).uniform(size=(6, 3))
    labels, weight = np.array([0, 1, 2, 0, 1, 2]), np.array([1.0, 0, 2, 3, 0, 0])
    rows = augmenter.with_neighbours(backend.xp, np.arange(6))
    assert rows.tolist() == [5, 0, 1, 2, 3, 4, 5]
    options = {"step": 4, "count": 6, "first_row": 0}
    found = augmenter(backend.xp, x[rows], labels[rows], weight[rows], **options)
    plain = augmenter(backend.xp, x[rows], labels[rows], None, **options)
    assert np.array_equal(found[0], plain[0])
    assert plain[2] is None
    before = np.roll(x, 1, axis=0)
    part = ((plain[0] - before) / (x - before))[:, 0]
    y, w = np.eye(3)[labels], weight
    assert found[2] == pytest.approx(part * w + (1 - part) * np.roll(w, 1))
    wanted = (part * w)[:, None] * y + ((1 - part) * np.roll(w, 1))[:, None] * np.roll(y, 1, axis=0)
    assert found[1] * found[2][:, None] == pytest.approx(wanted)
    assert np.isfinite(found[1]).all()


# -- made of others -----------------------------------------------------------------------------


def test_sometimes_changes_the_part_of_the_samples_that_is_said():
    x = pictures(500, 4, 5)
    for inner in (Flip(1.0), Elastic(0.1)):
        found, _ = apply(Sometimes(inner, 0.3), x)
        changed = (found != x).any(axis=(1, 2, 3))
        assert changed.mean() == pytest.approx(0.3, abs=0.06)
        composed, _ = apply(Compose((Sometimes(inner, 0.3),)), x)
        assert (composed != x).any(axis=(1, 2, 3)).mean() == pytest.approx(0.3, abs=0.06)
    y = np.eye(500)
    _, targets = apply(Sometimes(Mixup(1.0), 0.3), x, y)
    assert (targets.max(axis=1) < 1).mean() == pytest.approx(0.3, abs=0.06)


def test_what_is_put_in_front_changes_no_numbers_of_what_is_behind():
    x = np.ones((4, 10, 10, 1))
    alone, _ = apply(Compose((Cutout(),)), x)
    behind, _ = apply(Compose((Brightness(0), Noise(0), Cutout())), x)
    assert np.array_equal(alone, behind)


# -- shapes and names ---------------------------------------------------------------------------


def test_samples_are_pictures_by_their_shape_or_as_is_said():
    assert picture_shape(Compose((Elastic(),)), (28, 28)) == (28, 28, 1)
    assert picture_shape(Elastic(), (32, 30, 3)) == (32, 30, 3)
    assert picture_shape(Compose((Elastic(),), shape=(28, 28)), (784,)) == (28, 28, 1)
    assert picture_shape(Noise(), (784,)) == (784,)
    assert picture_shape(Compose((Mixup(), Sometimes(Noise()))), (5,)) == (5,)
    for augmentation in (Elastic(), Compose((Mixup(), Sometimes(Flip()))), CutMix()):
        with pytest.raises(ValueError, match=r"needs pictures.*shape \(784,\).*shape=\(28, 28\)"):
            picture_shape(augmentation, (784,))
    with pytest.raises(ValueError, match=r"784 numbers, and samples of shape \(8, 8\) have 64"):
        picture_shape(Compose((), shape=(28, 28)), (8, 8))


def test_what_is_no_augmentation_is_refused():
    assert checked_augmentation(None) is None
    assert checked_augmentation([Flip()]) == Compose((Flip(),))
    for wrong in ("elastic", Elastic, 3):
        with pytest.raises(TypeError, match=r"augment must be .* xpnet.augment.Elastic\(\)"):
            checked_augmentation(wrong)
    with pytest.raises(TypeError, match="augmentations: each must be an augmentation"):
        checked_augmentation([Elastic(), "affine"])
    with pytest.raises(TypeError, match="augmentation must be an augmentation"):
        Sometimes("flip")
    with pytest.raises(ValueError, match="did you mean 'nearest'"):
        Affine(edge="neares")
    with pytest.raises(ValueError, match="Shift: vertical must be"):
        Shift(1.5)
    with pytest.raises(ValueError, match=r"shape must be \(height, width\)"):
        Compose((), shape=(784,))


def test_augmentations_from_text():
    read = augmentations_from(["elastic", "affine:rotation=15: scale = 0.2:edge=nearest"])
    assert read == Compose((Elastic(), Affine(rotation=15, scale=0.2, edge="nearest")))
    assert list(AUGMENTATIONS) == [
        "affine", "elastic", "shift", "flip", "crop", "cutout", "noise", "brightness", "contrast",
        "mixup", "cutmix",
    ]  # fmt: skip
    for text, message in {
        "elastik": "must be of affine, elastic.*got 'elastik'; did you mean 'elastic'",
        "affine:rotate=5": "has 'rotate=5' for affine, which has rotation, scale.*affine:rotation=",
        "affine:rotation": "has 'rotation' for affine",
        "affine:rotation=5:rotation=6": "has rotation of affine twice",
        "affine:rotation=many": "rotation must be",
        "affine:edge=red": "edge must be one of zero, nearest",
    }.items():
        with pytest.raises(ValueError, match=message):
            augmentations_from([text])


# -- the check of one's own ---------------------------------------------------------------------


@dataclass(frozen=True)
class Wrong(Augmentation):
    """Does one thing wrong."""

    how: str = ""

    def apply(self, xp, x, y, random):
        factor = random.uniform(xp, "factor", 1)[:, :, None, None]
        if self.how == "arguments":
            x *= factor
            return x, y
        if self.how == "finite":
            return x * factor / (x * 0), y
        if self.how == "shape":
            return x[:, 1:] * factor, y
        if self.how == "parts":
            return x * factor * len(x), y
        if self.how == "random":
            return x * 0.5, y
        if self.how == "repeatable":
            return x * np.random.default_rng().random(), y
        if self.how == "float32":
            return x * factor.astype(np.float64), y
        if self.how == "targets":
            return x * factor, y[:-1]
        return x * factor, y


@pytest.mark.parametrize(
    "how",
    ["arguments", "finite", "shape", "parts", "random", "repeatable", "float32", "targets"],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_the_check_finds_what_is_wrong(how):
    check_augmentation(Wrong()).raise_if_wrong()
    with pytest.raises(GradientError, match=how):
        check_augmentation(Wrong(how)).raise_if_wrong()


@dataclass(frozen=True)
class Lost(Mixup):
    """Loses a part of the targets."""

    def apply(self, xp, x, y, random):
        x, y = super().apply(xp, x, y, random)
        return x, 0.9 * y


def test_the_check_finds_targets_that_are_no_distributions():
    with pytest.raises(GradientError, match="distributions"):
        check_augmentation(Lost()).raise_if_wrong()
