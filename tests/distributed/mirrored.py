"""`tf.distribute.MirroredStrategy` on two virtual CPUs."""

import tensorflow as tf

[cpu] = tf.config.list_physical_devices("CPU")
device = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(cpu, [device, device])

import common  # noqa: E402
import wandb  # noqa: E402

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = common.new_model()
with wandb.init():
    common.fit(model, common.X, common.Y, batch_size=8)
    common.report(model)
