"""`keras.distribution.DataParallel` on the two devices of one JAX process."""

import common
import keras
import wandb

assert len(keras.distribution.list_devices()) == 2
keras.distribution.set_distribution(keras.distribution.DataParallel())
model = common.new_model()
with wandb.init():
    common.fit(model, common.X, common.Y, batch_size=8)
    common.report(model)
