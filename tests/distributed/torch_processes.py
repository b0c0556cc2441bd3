"""`DistributedDataParallel` over two processes, which have `MASTER_ADDR` and so on.

Args: what the other process has as its run, `none` or `disabled`; and whether each
process predicts a part of the data, `shared`, or all of it, `alone`.
"""

import sys

import torch

torch.distributed.init_process_group("gloo")

import common  # noqa: E402
import wandb  # noqa: E402

rank = torch.distributed.get_rank()
model = common.new_model()
trained = torch.nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
share = slice(rank, None, 2)
x, y = torch.as_tensor(common.X[share]), torch.as_tensor(common.Y[share])


def train_epoch():
    for start in range(0, len(x), 4):
        optimizer.zero_grad()
        scores = trained(x[start : start + 4])
        loss = torch.nn.functional.nll_loss(scores.log(), y[start : start + 4])
        loss.backward()
        optimizer.step()


common.start_run(rank == 0, sys.argv[1])
sizes = common.count_predictions()
is_shared = sys.argv[2] == "shared"
history = common.train(model, train_epoch, in_all_processes=is_shared)
common.report(model, sizes=sizes, history=history)
wandb.finish()
