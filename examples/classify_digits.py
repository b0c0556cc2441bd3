"""Watch a small CNN learn to read handwritten digits, epoch by epoch.

Trains on scikit-learn's digits (8x8 pixels, real handwriting) for five epochs, which
takes less than a minute on two cores, and logs the predictions after each epoch. It
needs no account: W&B runs offline, and the last lines show how to send the run later.

    uv run examples/classify_digits.py
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("WANDB_SILENT", "true")

import keras
import wandb
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from wandb_eval.classification import WandbClassificationEvalCallback

EPOCHS = 5
NAMES = ["zero", "one", "two", "three", "four"]
NAMES += ["five", "six", "seven", "eight", "nine"]


def build_model() -> keras.Model:
    """A small CNN with softmax outputs for ten classes."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def most_confused(callback: WandbClassificationEvalCallback) -> list[str]:
    """Describes the three pairs of classes that are confused most often."""
    metrics = callback.evaluation.metrics
    return [
        f"{NAMES[pair.actual]} taken for {NAMES[pair.predicted]} (times: {pair.count})"
        for pair in metrics.confused(most=3)
    ]


def hardest(callback: WandbClassificationEvalCallback) -> list[str]:
    """Describes the three samples that the model gets most wrong."""
    found = callback.evaluation.hardest
    names = ("label", "pred", "score", "loss")
    rows = zip(found.index, *(found.scores[name] for name in names), strict=True)
    return [
        f"sample {index}: {label}, taken for {pred} with {score:.0%} (loss {loss:.1f})"
        for index, label, pred, score, loss in list(rows)[:3]
    ]


def main() -> None:
    """Trains, and prints a summary."""
    keras.utils.set_random_seed(0)
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype("float32")
    x_train, x_val, y_train, y_val = train_test_split(
        images, labels, test_size=0.25, random_state=0, stratify=labels
    )

    with wandb.init(project="wandb-eval", name="digits", mode="offline") as run:
        callback = WandbClassificationEvalCallback(
            (x_val, y_val), class_names=NAMES, monitor="eval/accuracy"
        )
        model = build_model()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        history = model.fit(
            x_train,
            y_train,
            epochs=EPOCHS,
            validation_data=(x_val, y_val),
            callbacks=[callback],
        )
        folder = os.path.relpath(run.settings.sync_dir)

    print("\nLogged to W&B (offline):")
    print(
        f"  artifact val               {len(callback.samples)} images with their labels"
    )
    print(f"  artifact run_{run.id}_pred {EPOCHS} versions, one for each epoch")
    print("  in each of them            these images, the hardest ones, all scores")
    print("  charts and numbers         eval/confusion_matrix, eval/accuracy, ...")
    print("Accuracy on validation data, epoch by epoch:")
    accuracies = (f"{accuracy:.3f}" for accuracy in history.history["val_accuracy"])
    print("  " + "  ".join(accuracies))
    print("Confused most often after the last epoch:")
    for line in most_confused(callback) or ["none: all are right"]:
        print(f"  {line}")
    print("Hardest of all, in the table `hardest` with their images:")
    for line in hardest(callback):
        print(f"  {line}")
    if callback.weak_slices:
        print("Where it fails, in the table `weak_slices`:")
        for weak in callback.weak_slices:
            print(f"  {weak}")
    print(f"The run is in {folder}")
    print(f"To look at it: uv run python -m wandb_eval.report {folder}")
    sync = f"uv run python -m wandb_eval.core.sync {folder}"
    print(f"To see it in W&B: uv run wandb login && {sync}")


if __name__ == "__main__":
    main()
