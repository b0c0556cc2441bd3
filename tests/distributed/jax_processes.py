"""`keras.distribution.DataParallel` over two JAX processes.

Args: the address of the first process, the index of this one, and what the other
process has as its run: `none` or `disabled`.
"""

import sys

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
sizes = common.count_predictions()
history = common.fit(model, common.X[share], common.Y[share], batch_size=4)
sizes = list(sizes)  # Those of `fit` alone.
weak_slices = common.find_weak_slices(model)
common.report(model, sizes=sizes, history=history, weak_slices=weak_slices)
wandb.finish()
