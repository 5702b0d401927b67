"""A run shared by several processes: each takes its part of every batch.

All of them make the same batch, from the same seed, and each takes its mixtures of it; gradients
and losses are averaged over the processes before the step. So all have the same weights at any
moment, and the run is the one that a single process makes of the whole batches, up to rounding.

The processes belong together by `torch.distributed.init_process_group`, which the caller has
called before training, as under ``torchrun``. Without it, all of this does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from skdc.training.banks import Batch

__all__ = ["any_of_all", "average", "check_agreement", "is_first", "own_share", "rank"]


def _n_processes() -> int:
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()


def rank() -> int:
    """Give the number of this process, from 0; 0 where there is only one."""
    return distributed.get_rank() if _n_processes() > 1 else 0


def is_first() -> bool:
    """Whether this process is the one that writes files."""
    return rank() == 0


def check_agreement(batch_size: int, seed: int, device: torch.device) -> None:
    """Raise a ValueError if the processes cannot make a run together.

    `batch_size` and `seed` are what this process takes for those of the run; messages go between
    the devices of the training.
    """
    n_processes = _n_processes()
    if n_processes == 1:
        return
    # In one message, so that all of them raise the same error
    values = torch.tensor([seed, batch_size], device=device)
    bounds = torch.stack([values, -values])  # (2, 2)
    distributed.all_reduce(bounds, op=distributed.ReduceOp.MAX)
    (largest, largest_batch), (least, least_batch) = bounds[0].tolist(), (-bounds[1]).tolist()
    if least != largest:
        raise ValueError(
            f"the processes have seeds from {least} to {largest}, and so would train on other "
            "batches; give random_state an int, the same in all of them"
        )
    if least_batch != largest_batch:
        raise ValueError(
            f"the processes have batch_size from {least_batch} to {largest_batch}; give the same "
            "in all of them"
        )
    if batch_size % n_processes:
        raise ValueError(
            f"batch_size={batch_size} cannot be shared equally by {n_processes} processes; give a "
            "multiple of their number"
        )


def own_share(batch: Batch) -> Batch:
    """Give the mixtures of a batch that this process takes: every n-th, of n processes."""
    n_processes = _n_processes()
    if n_processes == 1:
        return batch
    parts = {name: part for name, part in batch._asdict().items() if isinstance(part, Tensor)}
    taken: Any = {name: part[rank() :: n_processes] for name, part in parts.items()}
    return batch._replace(**taken)


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors, of the same shapes in all processes, by their means over these."""
    n_processes = _n_processes()
    if n_processes == 1:
        return
    # One message for all of them
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= n_processes
    parts = flat.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def any_of_all(flag: bool, device: torch.device) -> bool:
    """Whether a flag is set in any of the processes, whose devices send the messages."""
    if _n_processes() == 1:
        return flag
    flags = torch.tensor(float(flag), device=device)
    distributed.all_reduce(flags, op=distributed.ReduceOp.MAX)
    return bool(flags > 0)
