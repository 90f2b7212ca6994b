"""What a checkpoint of another project may carry along, and what it may not."""

import pickle
import struct
import time
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
import torch

from evpcli.domain.errors import DamagedError
from evpcli.engine.guard.pickle_guard import plan_unpickling
from evpcli.engine.guard.pickle_rules import PLAIN, STRICT, TensorPlan
from evpcli.engine.guard.tensor_file import read_tensors
from tests.hostile_files import HEAD, build_pickle_zip, build_tensor_pickle, save

DTYPES = ("float16", "float32", "float64", "int64", "int32", "uint8", "bool")
PLAIN_VALUES = {
    "text": "adam",
    "numbers": (0, -1, 2**31, -(2**62), 0.5, float("inf"), True, None),
    "lists": [[281, 207], [5], []],
    "keys": {0: {"step": 1.0}, 17: ()},
    "ordered": OrderedDict(b=1, a=2),
}


def assert_equal(value, expected):
    assert type(value) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert torch.equal(value, expected)
        assert value.dtype == expected.dtype
    elif isinstance(expected, dict):
        assert list(value) == list(expected)
        for key in expected:
            assert_equal(value[key], expected[key])
    else:
        assert value == expected


def test_plain_values_come_as_they_were_saved():
    assert_equal(read_tensors(save(PLAIN_VALUES), PLAIN).values, PLAIN_VALUES)
    assert str(read_tensors(save({"x": float("nan")}), PLAIN).values["x"]) == "nan"


@pytest.mark.parametrize("name", DTYPES)
def test_tensors_of_the_usual_kinds_come_as_they_were_saved(name):
    tensor = torch.arange(12).reshape(3, 4).to(getattr(torch, name))
    document = {"tensor": tensor, "scalar": tensor[0, 1].clone(), "transposed": tensor.clone().T}
    assert_equal(read_tensors(save(document), PLAIN).values, document)


def test_an_optimisers_state_is_let_through():
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    document = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    assert_equal(read_tensors(save(document), PLAIN).values, document)


def test_a_tensor_from_a_gpu_is_read_into_main_memory():
    data = build_tensor_pickle(4, (4,), (1,)).replace(
        b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    )
    values = read_tensors(build_pickle_zip(data, bytes(16)), PLAIN).values
    assert_equal(values["pixels"], torch.zeros(4))
    with pytest.raises(DamagedError):
        plan_unpickling(data, {"0": 16}, STRICT)


@pytest.mark.parametrize("device", [b"met", b"cud", b"CPU", b"c:0"])
def test_other_devices_are_refused(device):
    data = build_tensor_pickle(4, (4,), (1,)).replace(b"\x00\x00\x00cpu", b"\x00\x00\x00" + device)
    with pytest.raises(DamagedError, match="more than plain"):
        plan_unpickling(data, {"0": 16}, PLAIN)


@pytest.mark.parametrize(
    "document",
    [
        *({key: value} for key, value in PLAIN_VALUES.items() if key != "text"),
        {"x": torch.zeros(3, dtype=torch.int64)},
        {"x": torch.zeros(3, 4).T},
    ],
)
def test_a_prompt_file_stays_as_strict_as_ever(document):
    with pytest.raises(DamagedError):
        read_tensors(save(document))


STRANGE = {
    "numpy number": {"x": np.float64(1)},
    "numpy integer in a list": {"x": [[np.int64(3)]]},
    "numpy array": {"x": np.zeros(3)},
    "set": {"x": {1, 2}},
    "bytes": {"x": b"abc"},
    "complex": {"x": 1j},
    "tuple as key": {"x": {(1, 2): 3}},
    "bool as key": {"x": {True: 3}},
    "parameter": {"x": torch.nn.Parameter(torch.zeros(3))},
    "bfloat16": {"x": torch.zeros(3, dtype=torch.bfloat16)},
    "complex tensor": {"x": torch.zeros(3, dtype=torch.complex64)},
    "sparse tensor": {"x": torch.eye(3).to_sparse()},
    "view": {"x": torch.zeros(9)[2:5]},
    "stretched": {"x": torch.zeros(1).expand(9)},
    "strided": {"x": torch.zeros(9)[::2]},
    "module": {"x": torch.nn.Identity()},
    "device": {"x": torch.device("cpu")},
    "deep": {"x": [[[[[[[[[1]]]]]]]]]},
    "many": {"x": list(range(20_001))},
}


@pytest.mark.parametrize("name", STRANGE)
def test_other_content_is_refused(name):
    with pytest.raises(DamagedError):
        read_tensors(save(STRANGE[name]), PLAIN)


def test_numpy_content_is_named():
    with pytest.raises(DamagedError, match="NumPy"):
        read_tensors(save(STRANGE["numpy integer in a list"]), PLAIN)


def test_a_truth_value_that_is_neither_is_refused():
    data = build_tensor_pickle(4, (4,), (1,), storage_type=b"BoolStorage")
    assert plan_unpickling(data, {"0": 4}, PLAIN) == {"pixels": TensorPlan((4,), "0", "bool")}
    with pytest.raises(DamagedError):
        read_tensors(build_pickle_zip(data, b"\x00\x01\x02\x00"), PLAIN)


ORDERED = b"ccollections\nOrderedDict\n)R"
METADATA = b"X\x09\x00\x00\x00_metadata"
HOSTILE = {
    "a list in itself": HEAD + b"}K\x01]q\x00h\x00as.",
    "a dict in a list in itself": HEAD + b"}q\x00K\x01]h\x00as.",
    "append to a dict": HEAD + b"}K\x01a.",
    "append to a tuple": HEAD + b"}K\x02)K\x01as.",
    "append a function": HEAD + b"}K\x01]ccollections\nOrderedDict\nas.",
    "append a mark": HEAD + b"}K\x01](as.",
    "set an item of a list": HEAD + b"]K\x01K\x02s.",
    "attributes of a dict": HEAD + b"}}" + METADATA + b"}sb.",
    "other attributes": HEAD + ORDERED + b"}X\x05\x00\x00\x00itemsK\x01sb.",
    "attributes without a dict": HEAD + ORDERED + b"K\x01b.",
    "slots": HEAD + ORDERED + b"}}" + METADATA + b"}s\x86b.",
    "functions as attributes": HEAD + ORDERED + b"}" + METADATA + b"cos\nsystem\nsb.",
    "ordered of something": HEAD + b"ccollections\nOrderedDict\n]\x85R.",
    "a class as a value": HEAD + b"}K\x01ctorch\nFloatStorage\ns.",
    "huge whole number": HEAD + b"}K\x01\x8b" + struct.pack("<i", 1 << 20) + bytes(1 << 20) + b"s.",
    "new object": HEAD + b"ccollections\nOrderedDict\n)\x81.",
    "late hooks": build_tensor_pickle(4, (4,), (1,))
    .replace(b"OrderedDict\n)R", b"OrderedDict\n)Rq\x07")
    .replace(b"tRs.", b"tRsK\x01h\x07K\x01K\x02ss."),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused(name):
    sizes = {"0": 16} if name == "late hooks" else {}
    with pytest.raises(DamagedError):
        plan_unpickling(HOSTILE[name], sizes, PLAIN)


def test_late_hooks_would_else_be_a_tensor():
    sound = HOSTILE["late hooks"].replace(b"K\x01h\x07K\x01K\x02ss.", b".")
    assert plan_unpickling(sound, {"0": 16}, PLAIN)["pixels"].shape == (4,)


def build_bomb(levels, width):
    """Lists of the same list again and again: `width ** levels` values in a few bytes."""
    value = [0]
    for _ in range(levels):
        value = [value] * width
    return pickle.dumps({"x": value}, protocol=2)


BOMBS = {
    "shared lists": build_bomb(6, 800),
    "wide lists": HEAD + b"}K\x01(" + b"]" * 30_000 + b"ts.",
    "nested tuples": HEAD + b"}K\x01)" + b"\x85" * 19_000 + b"s.",
    "axes": build_tensor_pickle(1, (1,) * 4_000, (1,) * 4_000),
    "marks": HEAD + b"(" * 30_000 + b".",
    "a tuple as a storage": HEAD
    + b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\n)"
    + b"\x85" * 19_000
    + b"X\x03\x00\x00\x00cpuK\x01tQ.",
    "copies of a long text": HEAD
    + b"}K\x01(X"
    + struct.pack("<I", 1 << 20)
    + b"a" * (1 << 20)
    + b"q\x00"
    + b"h\x00" * 4_000
    + b"ts.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_quickly_and_in_little_memory(name):
    tracemalloc.start()
    begin = time.perf_counter()
    with pytest.raises(DamagedError):
        plan_unpickling(BOMBS[name], {"0": 4} if name == "axes" else {}, PLAIN)
    seconds, (_, peak) = time.perf_counter() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 5
    assert peak < 32 << 20
