"""`DistributedDataParallel` over two processes, which have `MASTER_ADDR` and so on.

The argument is what the other process has as its run: `none` or `disabled`.
"""

import sys

import torch

torch.distributed.init_process_group("gloo")

import common  # noqa: E402
import keras  # noqa: E402
import wandb  # noqa: E402

EPOCHS = 2
rank = torch.distributed.get_rank()
model = common.new_model()
trained = torch.nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
share = slice(rank, None, 2)
x, y = torch.as_tensor(common.X[share]), torch.as_tensor(common.Y[share])

if rank == 0:
    wandb.init()
elif sys.argv[1] == "disabled":
    wandb.init(mode="disabled")
callbacks = keras.callbacks.CallbackList(
    [common.new_callback()], model=model, epochs=EPOCHS, verbose=0
)
callbacks.on_train_begin()
for epoch in range(EPOCHS):
    callbacks.on_epoch_begin(epoch)
    for start in range(0, len(x), 4):
        optimizer.zero_grad()
        scores = trained(x[start : start + 4])
        loss = torch.nn.functional.nll_loss(scores.log(), y[start : start + 4])
        loss.backward()
        optimizer.step()
    callbacks.on_epoch_end(epoch)
callbacks.on_train_end()
common.report(model)
wandb.finish()
