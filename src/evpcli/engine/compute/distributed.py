"""Several processes that share one piece of work, started by torchrun; or this process alone.

Collectives carry tensors and bytes only, never pickled objects.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from evpcli.domain.counts import say_count
from evpcli.domain.errors import UsageError, WorkerLostError
from evpcli.engine.compute.devices import choose_device
from evpcli.engine.compute.launcher import count_restarts, is_launched, watch_launcher
from evpcli.engine.compute.memory import is_out_of_memory

PATIENCE = timedelta(hours=12)
"""How long a process waits for the others, one of which may be downloading a large dataset.

It does not delay what goes wrong: a lost process closes its connections, and torchrun then ends
the others.
"""


@dataclass(frozen=True)
class World:
    """Who shares the work; for a process alone every method leaves things as they are.

    Args:
        rank: this process's number, from 0, over all machines.
        size: how many processes there are.
        local_rank: this process's number on its machine.
        local_size: how many there are on its machine.
        device: where tensors must be to be exchanged.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (immutable)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether nobody else shares the work."""
        return self.size == 1

    def settle_device(self, asked: str) -> torch.device:
        """Where to compute: what `asked` means here, or what the processes have divided up.

        Raises:
            UsageError: no such device here.
        """
        return choose_device(asked) if self.is_alone else self.device

    def check_share(self, number: int, what: str) -> None:
        """Refuse work of which some process would have no part.

        Raises:
            UsageError: there are fewer pictures than processes.
        """
        if number < self.size:
            raise UsageError(
                "there are fewer pictures than processes",
                found=f"{say_count(number, 'picture')} ({what}), {self.size} processes",
                hint="start fewer processes",
            )

    def sum_in_place(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over all processes, in one exchange.

        Args:
            tensors: of equal shapes in every process, all of one dtype.
        """
        if self.is_alone or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1).to(self.device) for tensor in tensors])
        with _name_lost_workers():
            dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def find_largest(self, *values: float) -> tuple[float, ...]:
        """The largest of each number over all processes."""
        if self.is_alone:
            return values
        found = torch.tensor(values, dtype=torch.float64, device=self.device)
        with _name_lost_workers():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return tuple(found.tolist())

    def copy_from_first(self, tensor: Tensor) -> None:
        """Replace a tensor by the first process's."""
        if self.is_alone:
            return
        moved = tensor.detach().to(self.device).contiguous()
        with _name_lost_workers():
            dist.broadcast(moved, 0)
        tensor.copy_(moved)

    def share_bytes(self, data: bytes | None) -> bytes:
        """The first process's bytes, in every process.

        Args:
            data: what the first process tells; the others' is not looked at.
        """
        if self.is_alone:
            return data or b""
        count = torch.tensor([len(data or b"") if self.is_first else 0], device=self.device)
        self.copy_from_first(count)
        values = torch.zeros(int(count), dtype=torch.uint8, device=self.device)
        if self.is_first and data:
            values = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self.device)
        self.copy_from_first(values)
        return values.cpu().numpy().tobytes()

    def gather_bytes(self, data: bytes) -> list[bytes]:
        """Every process's bytes, in every process, by rank."""
        if self.is_alone:
            return [data]
        return [self._share_from(rank, data) for rank in range(self.size)]

    def wait(self) -> None:
        """Go on when everybody is here; a sum on a GPU alone would only be queued."""
        self.find_largest(0.0)

    @contextmanager
    def one_a_machine_first(self) -> Iterator[None]:
        """What the block downloads or builds, the other processes of a machine find ready."""
        if self.local_rank:
            self.wait()
        yield
        if not self.local_rank:
            self.wait()

    def _share_from(self, rank: int, data: bytes) -> bytes:
        own = data if rank == self.rank else b""
        count = torch.tensor([len(own)], device=self.device)
        self.sum_in_place(count)
        values = torch.zeros(int(count), dtype=torch.uint8, device=self.device)
        if own:
            values.copy_(torch.frombuffer(bytearray(own), dtype=torch.uint8))
        self.sum_in_place(values)
        return values.cpu().numpy().tobytes()


ALONE = World()
"""This process alone."""


@contextmanager
def join_world(device: str = "auto") -> Iterator[World]:
    """Meet the other processes that torchrun started; alone without it.

    Args:
        device: as `choose_device` takes it; several processes on one machine with GPUs take the
            GPU of their own number each.

    Raises:
        UsageError: no such device, more processes than GPUs, or the variables cannot be.
        WorkerLostError: the others do not come.
    """
    if not is_launched():
        yield ALONE
        return
    watch_launcher()
    numbers = _read_numbers()
    place = choose_device(device)
    if place.type == "cuda":
        place = _choose_gpu(device, numbers["LOCAL_RANK"], numbers["LOCAL_WORLD_SIZE"])
    elif place.type != "cpu" and numbers["WORLD_SIZE"] > 1:
        if device != "auto":
            raise UsageError("several processes need a CPU or CUDA GPUs", found=device)
        place = torch.device("cpu")
    world = World(
        numbers["RANK"],
        numbers["WORLD_SIZE"],
        numbers["LOCAL_RANK"],
        numbers["LOCAL_WORLD_SIZE"],
        place,
    )
    if world.is_alone:
        yield world
        return
    with _name_lost_workers():
        _connect("nccl" if place.type == "cuda" else "gloo")
    yield world
    dist.destroy_process_group()  # after an error it could wait for those who wait for us


def _connect(backend: str) -> None:
    """Connect to the others, by names that the workers before a restart have not used."""
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    fresh = PrefixStore(f"evp/attempt-{count_restarts()}", store)
    dist.init_process_group(backend, store=fresh, rank=rank, world_size=size, timeout=PATIENCE)


def _read_numbers() -> dict[str, int]:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    defaults = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": os.environ["WORLD_SIZE"]}
    texts = {name: os.environ.get(name, defaults.get(name, "")) for name in names}
    if not all(text.isdecimal() for text in texts.values()):
        found = ", ".join(f"{name}={text}" for name, text in texts.items())
        raise UsageError(
            "the variables of a launcher are incomplete",
            found=found,
            hint="start with torchrun, or unset RANK and WORLD_SIZE",
        )
    return {name: int(text) for name, text in texts.items()}


def _choose_gpu(device: str, local_rank: int, local_size: int) -> torch.device:
    count = torch.cuda.device_count()
    if ":" in device and local_size > 1:
        raise UsageError(
            "several processes cannot share one GPU",
            found=device,
            hint="use --device cuda: each process takes its own",
        )
    if local_size > count:
        raise UsageError(
            "there are more processes than GPUs",
            found=f"{say_count(local_size, 'process', 'processes')}, {say_count(count, 'GPU')}",
            hint=f"use --nproc-per-node {max(1, count)}, or --device cpu",
        )
    chosen = torch.device(device if ":" in device else f"cuda:{local_rank}")
    torch.cuda.set_device(chosen)
    return chosen


@contextmanager
def _name_lost_workers() -> Iterator[None]:
    """Turn what a broken connection raises into one line; the others' own error says the rest."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # torch's distributed errors are RuntimeErrors
        if is_out_of_memory(error):
            raise
        raise WorkerLostError(
            "another process is gone",
            hint="its own message says why; evp fit --resume last goes on with a fit, "
            "torchrun --max-restarts N by itself",
        ) from error
