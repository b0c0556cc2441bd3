"""`keras.distribution.DataParallel` over two JAX processes.

Args: the address of the first process, the index of this one, and what the other
process has as its run: `none` or `disabled`.
"""

import sys
from typing import Any

import jax

address, index, other = sys.argv[1], int(sys.argv[2]), sys.argv[3]
jax.distributed.initialize(address, num_processes=2, process_id=index)

import common  # noqa: E402
import keras  # noqa: E402
import wandb  # noqa: E402

# Each process brings its own share of the training data.
distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
keras.distribution.set_distribution(distribution)
share = slice(index, None, 2)
model = common.new_model()
common.start_run(index == 0, other)
counted = common.count_predictions()
sizes, histories = [], []


def fit(trained: keras.Model, **options: Any) -> None:
    """Trains a model, and notes what was predicted."""
    counted.clear()
    x, y = common.X[share], common.Y[share]
    histories.append(common.fit(trained, x, y, batch_size=4, **options))
    sizes.append(list(counted))


fit(model)
weak_slices = common.find_weak_slices(model)
own = common.X, common.Y
fit(common.new_model(), validation_data=own, name="joined")
# In the other process, `fit` validates on other data.
data = own if index == 0 else (255 - common.X, common.Y)
fit(common.new_model(), validation_data=data, name="apart")
common.report(model, sizes=sizes, histories=histories, weak_slices=weak_slices)
wandb.finish()
