"""Trains for long in a process of its own, and prints what it cost as JSON.

Args: the mode of W&B, the number of rows, the number of epochs.
"""

import json
import os
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import wandb

from wandb_eval.classification import WandbClassificationEvalCallback

mode, rows, epochs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
x = np.random.default_rng(0).integers(0, 256, (rows, 6, 6, 3), dtype=np.uint8)
y = x.mean((1, 2)).argmax(-1)


class Measure(keras.callbacks.Callback):
    """What this process holds after each epoch."""

    def __init__(self):
        super().__init__()
        self.megabytes, self.files, self.threads = [], [], []

    def on_epoch_end(self, epoch, logs=None):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.megabytes.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
        self.files.append(len(os.listdir("/proc/self/fd")))
        self.threads.append(threading.active_count())


model = keras.Sequential(
    [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
)
model.compile("adam", "sparse_categorical_crossentropy")
measure = Measure()
with wandb.init(mode=mode) as run:
    evaluate = WandbClassificationEvalCallback(
        (x, y), num_samples=None, batch_size=1000
    )
    model.fit(
        x[:100],
        y[:100],
        epochs=epochs,
        batch_size=100,
        verbose=0,
        callbacks=[evaluate, measure],
    )
report = {
    "run": run.id,
    "folder": str(Path(run.dir).parent),
    "megabytes": measure.megabytes,
    "files": measure.files,
    "threads": measure.threads,
}
print(json.dumps(report))
