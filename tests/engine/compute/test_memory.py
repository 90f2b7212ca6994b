from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor

from evpcli.domain.errors import EvpError, OutOfMemoryError
from evpcli.domain.events import Trouble
from evpcli.engine.compute.memory import (
    SmallerParts,
    ask_whole,
    explained_memory,
    find_fitting,
    is_out_of_memory,
    settle_batch_size,
)


class Narrow:
    """A model that has room for so many pictures, and counts its calls."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images.double().sum(1, keepdim=True)


IMAGES = torch.arange(20.0).reshape(10, 2)


def test_smaller_parts_give_the_answers_of_the_whole() -> None:
    told: list[Trouble] = []
    model, asking = Narrow(3), SmallerParts(told.append)
    assert torch.equal(asking(model, IMAGES), IMAGES.double().sum(1, keepdim=True))
    assert model.sizes == [10, 5, 2, 2, 2, 2, 2]
    assert [event.text for event in told] == [
        "10 pictures at a time do not fit into memory, going on with 5",
        "5 pictures at a time do not fit into memory, going on with 2",
    ]


def test_later_batches_begin_with_what_fitted() -> None:
    model, asking = Narrow(5), SmallerParts(lambda trouble: None)
    asking(model, IMAGES)
    model.sizes.clear()
    assert len(asking(model, IMAGES)) == 10
    assert model.sizes == [5, 5]


def test_not_even_one_picture() -> None:
    with pytest.raises(OutOfMemoryError, match="not even one picture"):
        SmallerParts(lambda trouble: None)(Narrow(0), IMAGES)


def test_other_errors_pass() -> None:
    def broken(images: Tensor) -> Tensor:
        raise RuntimeError("size mismatch")

    for ask in (ask_whole, SmallerParts(lambda trouble: None)):
        with pytest.raises(RuntimeError, match="size mismatch"):
            ask(broken, IMAGES)
    with pytest.raises(RuntimeError, match="size mismatch"):
        find_fitting(lambda n: broken(IMAGES[:n]), 10)
    with pytest.raises(RuntimeError, match="size mismatch"), explained_memory(4):
        broken(IMAGES)


@pytest.mark.parametrize(("room", "found"), [(10, 5), (4, 2), (1, 1), (0, 0)])
def test_the_largest_half_that_fits_is_found(room: int, found: int) -> None:
    model = Narrow(room)
    assert find_fitting(lambda n: model(IMAGES[:n]), 10) == found


def test_the_suggestion_is_made_when_the_work_has_let_go() -> None:
    class Held:
        pass

    alive: list[bool] = []

    def work() -> None:
        held = Held()
        references.append(weakref.ref(held))
        raise torch.OutOfMemoryError("CUDA out of memory")

    references: list[weakref.ref[Held]] = []

    def suggest() -> str:
        alive.append(references[0]() is not None)
        return "try less"

    with pytest.raises(OutOfMemoryError) as caught, explained_memory(64, suggest):
        work()
    assert alive == [False]
    assert (caught.value.exit_code, caught.value.found, caught.value.hint) == (
        9,
        "batch size 64",
        "try less",
    )


def test_what_counts_as_out_of_memory() -> None:
    cpu = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ...")
    assert all(map(is_out_of_memory, (cpu, MemoryError(), torch.OutOfMemoryError(""))))
    assert not any(map(is_out_of_memory, (RuntimeError("other"), EvpError("other"), OSError())))
    with pytest.raises(RuntimeError) as caught:  # what torch really says
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)


def test_auto_depends_on_the_device() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert settle_batch_size("auto", cpu) == 64
    assert settle_batch_size("auto", cuda, processes=2) == 1024
    assert settle_batch_size(7, cuda, processes=2) == 7
