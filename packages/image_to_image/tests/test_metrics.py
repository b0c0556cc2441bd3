"""Numbers equal those of scikit-image."""

import warnings

import numpy as np
import pytest
from scipy.ndimage import minimum_filter
from skimage import metrics as theirs

from wandb_eval.image_to_image import ImageToImageMetrics
from wandb_eval.image_to_image.metrics import compare_images, psnr


def situation(seed):
    """Targets and outputs of random shapes, dtypes and ranges."""
    rng = np.random.default_rng(seed)
    size = rng.choice([8, 11, 12, 16, 29], 2)
    count, channels = int(rng.choice([1, 3])), int(rng.choice([1, 1, 2, 3, 5]))
    span = float(rng.choice([1, 255, 80]))
    y = rng.random((count, *size, channels))
    kind = rng.integers(4)
    if kind == 0:
        y[:] = rng.random()
    elif kind == 1:
        y = (y > 0.5).astype(float)  # Edges.
    elif kind == 2:
        y = np.sort(y, axis=1)  # Smooth.
    outputs = y + rng.normal(0, rng.choice([0, 1e-3, 0.1]), y.shape)
    if rng.random() < 0.2:
        outputs[:] = rng.random()
    y, outputs = y * span, outputs * span
    if span == 255 and rng.random() < 0.7:
        y = y.astype(np.uint8)
    else:
        y = y.astype(rng.choice(["float16", "float32", "float64"]))
        if rng.random() < 0.3:
            y[rng.random(y.shape) < rng.choice([0.002, 0.1])] = np.nan
        if rng.random() < 0.1:
            y[0] = np.nan
    outputs = outputs.astype(rng.choice(["float16", "float32"]))
    if rng.random() < 0.2:
        outputs[0, 0, 0, 0] = np.nan
    return y, outputs, span


def by_others(y, outputs, span):
    """The numbers of each image; `None` for undefined numbers."""
    rows = []
    for target, output in zip(y.astype(float), outputs.astype(float), strict=True):
        valid = ~np.isnan(target)
        if not valid.any():
            rows.append((0, None, None, None, None))
            continue
        known = target[valid], output[valid]
        if not np.isfinite(known[1]).all():
            rows.append((int(valid.sum()), np.nan, np.nan, None, None))
            continue
        error = theirs.mean_squared_error(*known)
        ratio = 100.0
        if error:
            ratio = min(theirs.peak_signal_noise_ratio(*known, data_range=span), 100)
        mae = np.abs(known[1] - known[0]).mean()
        rows.append(
            (len(known[0]), mae, error, ratio, ssim(target, output, valid, span))
        )
    return rows


def ssim(target, output, valid, span):
    if min(target.shape[:2]) < 11:
        return None
    sides = (np.where(valid, side, 0) for side in (target, output))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, full = theirs.structural_similarity(
            *sides,
            data_range=span,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
    inner = (slice(5, -5), slice(5, -5))
    means = [
        full[inner][..., k][minimum_filter(valid[..., k], 11)[inner]]
        for k in range(target.shape[-1])
    ]
    means = [kept.mean() for kept in means if kept.size]
    return np.mean(means) if means else None


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_numbers_are_those_of_scikit_image(first):
    for seed in range(first, first + 50):
        y, outputs, span = situation(seed)
        metrics = ImageToImageMetrics((0, span))
        metrics.update(y, outputs)
        found = metrics.compute()
        expected = by_others(y, outputs, span)
        left_out = [row for row in expected if row[1] is not None and np.isnan(row[1])]
        kept = [row for row in expected if row not in left_out and row[0]]
        assert found.pop("left_out", 0) == len(left_out), seed
        numbers = {}
        if kept:
            count = sum(row[0] for row in kept)
            numbers["mae"] = sum(row[0] * row[1] for row in kept) / count
            squares = sum(row[0] * row[2] for row in kept) / count
            numbers["rmse"] = np.sqrt(squares)
            for name, place in (("psnr", 3), ("ssim", 4)):
                values = [row[place] for row in kept if row[place] is not None]
                if values:
                    numbers[name] = np.mean(values)
        similar = found.pop("ssim", None), numbers.pop("ssim", None)
        assert similar[0] == pytest.approx(similar[1], abs=1e-5), seed
        assert found == pytest.approx(numbers, rel=1e-5, abs=1e-7), seed


def test_images_of_each_sample():
    y = np.zeros((2, 4, 4, 1), np.float32)
    y[1, 0, 0] = np.nan
    compared = compare_images(y, y + np.float32(0.5), span=1)
    assert compared[:, :3].tolist() == [[16, 8, 4], [15, 7.5, 3.75]]
    assert np.isnan(compared[:, 3]).all()  # Smaller than the window.
    assert psnr(compared, 1) == pytest.approx([10 * np.log10(4)] * 2)
