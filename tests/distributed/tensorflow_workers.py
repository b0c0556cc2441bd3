"""`tf.distribute.MultiWorkerMirroredStrategy`, one process for each worker.

Keras 3 can't `fit` under this strategy
(https://github.com/keras-team/keras/issues/20585), so this is a training loop of one's
own, which calls the callbacks as `fit` would. The argument is what the other worker
has as its run: `none` or `disabled`.
"""

import json
import os
import sys

import tensorflow as tf

# Before anything else of TensorFlow.
strategy = tf.distribute.MultiWorkerMirroredStrategy()

import common  # noqa: E402
import keras  # noqa: E402
import wandb  # noqa: E402

BATCH = 8
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
workers = strategy.num_replicas_in_sync

with strategy.scope():
    model = common.new_model()
loss_of = keras.losses.SparseCategoricalCrossentropy(reduction="sum")
data = tf.data.Dataset.from_tensor_slices((common.X, common.Y))
share = data.shard(workers, index).batch(BATCH // workers)


@tf.function
def train_step(x, y):
    with tf.GradientTape() as tape:
        loss = loss_of(y, model(x, training=True)) / BATCH
    variables = model.trainable_variables
    gradients = tape.gradient(loss, variables)
    model.optimizer.apply_gradients(zip(gradients, variables, strict=True))


def train_epoch():
    for batch in share:
        strategy.run(train_step, args=batch)


common.start_run(index == 0, sys.argv[1])
common.train(model, train_epoch)
common.report(model)
wandb.finish()
