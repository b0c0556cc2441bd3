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

BATCH, EPOCHS = 8, 2
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


if index == 0:
    wandb.init()
elif sys.argv[1] == "disabled":
    wandb.init(mode="disabled")
callbacks = keras.callbacks.CallbackList(
    [common.new_callback()], model=model, epochs=EPOCHS, verbose=0
)
callbacks.on_train_begin()
for epoch in range(EPOCHS):
    callbacks.on_epoch_begin(epoch)
    for batch in share:
        strategy.run(train_step, args=batch)
    callbacks.on_epoch_end(epoch)
callbacks.on_train_end()
common.report(model)
wandb.finish()
