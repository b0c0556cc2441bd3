"""Watch a small CNN learn to remove noise from photographs.

Trains on windows of scikit-learn's two sample photographs, which takes about a minute
on two cores, and logs the predicted images after each epoch. It needs no account: W&B
runs offline, and the last lines show how to send the run later.

    uv run examples/denoise_photos.py
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("WANDB_SILENT", "true")

import keras
import numpy as np
import wandb
from sklearn.datasets import load_sample_images

from wandb_eval.image_to_image import WandbImageToImageEvalCallback

EPOCHS = 5
SIZE = 64
NOISE = 0.15


def windows(photos: list[np.ndarray], count: int, seed: int) -> np.ndarray:
    """Random windows of photographs, of shape `(count, 64, 64, 3)`, 0 to 1."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        photo = photos[i % len(photos)]
        top, left = (int(rng.integers(side - SIZE)) for side in photo.shape[:2])
        found.append(photo[top : top + SIZE, left : left + SIZE])
    return np.stack(found).astype("float32") / 255


def with_noise(images: np.ndarray, seed: int) -> np.ndarray:
    """The images with Gaussian noise, within 0 to 1."""
    noise = np.random.default_rng(seed).normal(0, NOISE, images.shape)
    return np.clip(images + noise, 0, 1).astype("float32")


def build_model() -> keras.Model:
    """A small CNN that subtracts the predicted noise from the input."""
    images = keras.Input((SIZE, SIZE, 3))
    x = images
    for _ in range(3):
        x = keras.layers.Conv2D(24, 3, padding="same", activation="relu")(x)
    noise = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros")(x)
    return keras.Model(images, keras.layers.Subtract()([images, noise]))


def main() -> None:
    """Trains, and prints a summary."""
    keras.utils.set_random_seed(0)
    photos = load_sample_images().images
    halves = [photo.shape[1] * 2 // 3 for photo in photos]
    parts = list(zip(photos, halves, strict=True))
    clean = windows([photo[:, :half] for photo, half in parts], 400, seed=1)
    clean_val = windows([photo[:, half:] for photo, half in parts], 60, seed=2)
    noisy, noisy_val = with_noise(clean, seed=3), with_noise(clean_val, seed=4)

    with wandb.init(project="wandb-eval", name="photos", mode="offline") as run:
        callback = WandbImageToImageEvalCallback(
            (noisy_val, clean_val), num_samples=16, monitor="eval/psnr"
        )
        model = build_model()
        model.compile(keras.optimizers.Adam(0.003), "mse")
        model.fit(
            noisy,
            clean,
            epochs=EPOCHS,
            batch_size=8,
            validation_data=(noisy_val, clean_val),
            callbacks=[callback],
        )
        folder = os.path.relpath(run.settings.sync_dir)

    history = callback.history
    print("\nLogged to W&B (offline):")
    print(f"  artifact val               {len(callback.samples)} images, with targets")
    print(f"  artifact run_{run.id}_pred {EPOCHS} versions, one for each epoch")
    print(f"PSNR of the noisy images: {history['eval/psnr_input'][0]:.1f} dB")
    print("PSNR of the predictions, epoch by epoch:")
    print("  " + "  ".join(f"{value:.1f}" for value in history["eval/psnr"]))
    print("SSIM, epoch by epoch:")
    print("  " + "  ".join(f"{value:.3f}" for value in history["eval/ssim"]))
    print(f"The run is in {folder}")
    print(f"To look at it: uv run python -m wandb_eval.report {folder}")
    sync = f"uv run python -m wandb_eval.core.sync {folder}"
    print(f"To see it in W&B: uv run wandb login && {sync}")


if __name__ == "__main__":
    main()
