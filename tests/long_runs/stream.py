"""Evaluates 200,000 images that are made as they are asked for.

Prints the memory before the callback was there, and the most with it, in MB.
"""

import json
import os
import resource
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import wandb

from wandb_eval.classification import WandbClassificationEvalCallback

BATCHES, BATCH, SIZE = 400, 500, 32
made = []


def batches():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), dtype=np.uint8)
    for i in range(BATCHES):
        made.append(BATCH)
        yield noise + np.uint8(i % 256), np.arange(BATCH) % 3


data = tf.data.Dataset.from_generator(
    batches,
    output_signature=(
        tf.TensorSpec((BATCH, SIZE, SIZE, 3), tf.uint8),
        tf.TensorSpec((BATCH,), tf.int64),
    ),
)
model = keras.Sequential(
    [
        keras.Input((SIZE, SIZE, 3)),
        keras.layers.AveragePooling2D(8),
        keras.layers.Flatten(),
        keras.layers.Dense(3, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy")
x, y = next(batches())
model.fit(x, y, batch_size=BATCH, verbose=0)
model.predict_on_batch(x)
pages = int(Path("/proc/self/statm").read_text().split()[1])
before = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
made.clear()
with wandb.init() as run:
    evaluate = WandbClassificationEvalCallback(data, num_samples=100)
    model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0, callbacks=[evaluate])
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
print(json.dumps({"run": run.id, "made": sum(made), "before": before, "most": most}))
