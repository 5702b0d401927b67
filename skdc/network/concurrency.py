"""What computing asks for among other work: threads, forked processes, modes of torch."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

__all__ = ["move_network", "own_modes", "seeding", "survive_forks"]

_moving = threading.Lock()
_seeding = threading.RLock()


@contextmanager
def seeding(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Draw what torch draws from its generators, such as weights and dropout, from a seed.

    That is the one of the CPU, and of `device` where it is a GPU. They stay as they were. There
    are these for all threads, so one thread draws at a time.
    """
    devices = [device] if device is not None and device.type == "cuda" else []
    with _seeding, torch.random.fork_rng(devices=devices):
        # torch.manual_seed would seed the generators of all GPUs too, which are not forked.
        torch.default_generator.manual_seed(seed)
        for gpu in devices:
            torch.cuda.default_generators[gpu.index].manual_seed(seed)
        yield


def move_network(network: nn.Module, device: torch.device) -> None:
    """Bring a network, in place, to a device, if it is not there already.

    Several threads may use one network: while torch moves it, it has no weights for moments, even
    where it is moved to where it is.
    """
    with _moving:
        wanted = torch.empty(0, dtype=torch.uint8, device=device).device  # "cuda" is some "cuda:0"
        if any(tensor.device != wanted for tensor in network.state_dict().values()):
            network.to(wanted)


@contextmanager
def own_modes(*, trains: bool = False) -> Iterator[None]:
    """Leave out the autocast of the caller and, where it `trains`, their no_grad."""
    with ExitStack() as modes:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
        if trains:
            modes.enter_context(torch.inference_mode(False))
            modes.enter_context(torch.enable_grad())
        yield


@functools.cache
def survive_forks() -> None:
    """See to it that processes forked from this one can compute, with one thread.

    The threads of OpenMP do not come along into a forked process, which would wait for them for
    ever. Processes that were spawned, as joblib does it, have threads of their own.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread() -> None:
    torch.set_num_threads(1)
