"""What a stranger's pickle may say."""

import sys

import pytest

from evpcli.domain.errors import DamagedError
from evpcli.engine.guard.pickle_guard import plan_unpickling
from evpcli.engine.guard.pickle_rules import MODEL, PLAIN, STRICT, TensorPlan
from tests.hostile_files import HEAD, build_code_pickles, build_tensor_pickle

THREE_NAMES = {
    "torch._utils _rebuild_tensor_v2",
    "collections OrderedDict",
    "torch FloatStorage",
}
MORE_STORAGES = ("Double", "Half", "Long", "Int", "Byte", "Bool")
ONLY_STRICT = (HEAD + b"}K\x01K\x01s.",)
DEEP_TUPLE = HEAD + b"}" + b")" + b"\x85" * 200 + b"K\x01s."


def test_a_tensor_is_planned():
    plan = plan_unpickling(build_tensor_pickle(12, (3, 2, 2), (4, 2, 1)), {"0": 48})
    assert plan == {"pixels": TensorPlan((3, 2, 2), "0")}


RULES = {"strict": STRICT, "plain": PLAIN, "model": MODEL}


def test_the_names_that_a_pickle_may_mention_are_these():
    """Whoever adds one must come here and say why it can do no harm."""
    assert STRICT.globals == THREE_NAMES
    assert PLAIN.globals == THREE_NAMES | {f"torch {kind}Storage" for kind in MORE_STORAGES}
    assert MODEL.globals == PLAIN.globals | {"torch BFloat16Storage"}


def is_let_through(name, rules):
    try:
        plan_unpickling(HEAD + b"c" + name.replace(" ", "\n").encode() + b"\n.", {}, rules)
    except DamagedError as error:
        return "more than plain values" in error.what  # as the whole: the name itself is known
    return True


@pytest.mark.parametrize("rules", RULES)
def test_no_other_name_of_any_loaded_module_is_let_through(rules):
    import torch  # noqa: F401

    modules = [(name, list(vars(module))) for name, module in list(sys.modules.items()) if module]
    names = {f"{module} {name}" for module, found in modules for name in found}
    names = {name for name in names if name.isascii() and name.count(" ") == 1}
    assert len(names) > 20_000
    assert {name for name in names if is_let_through(name, RULES[rules])} <= RULES[rules].globals
    assert all(is_let_through(name, RULES[rules]) for name in RULES[rules].globals)


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("way", sorted(build_code_pickles("true")))
def test_code_is_refused(way, rules):
    with pytest.raises(DamagedError):
        plan_unpickling(build_code_pickles("true")[way], {}, RULES[rules])


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize(
    ("numbers", "sizes"),
    [
        ((12, (3, 2, 2), (4, 2, 2)), {"0": 48}),
        ((12, (3, 2, 2), (4, 1, 1)), {"0": 48}),
        ((12, (3, 2, 2), (4, 2)), {"0": 48}),
        ((0, (0, 2), (9, 9)), {"0": 0}),
        ((1, (1,) * 9, (1,) * 9), {"0": 4}),
        ((12, (3, 2, 2), (4, 2, 1), 1), {"0": 48}),
        ((12, (3, 2, 2), (4, 2, 1), -1), {"0": 48}),
        ((12, (3, 2, 2), (0, 0, 0)), {"0": 48}),
        ((1, (40_000, 40_000), (0, 0)), {"0": 4}),
        ((12, (3, -2, -2), (4, 2, 1)), {"0": 48}),
        ((12, (3, 2, 2), (1, 2, 4)), {"0": 48}),
        ((12, (3, 2, 2), (2, 1, 6)), {"0": 44}),
        ((10**9, (10**9,), (1,)), {"0": 48}),
        ((-12, (3, 2, 2), (4, 2, 1)), {"0": 48}),
        ((12, (3, 2, 2), (4, 2, 1)), {"0": 44}),
        ((12, (3, 2, 2), (4, 2, 1)), {"1": 48}),
        ((12, (3, 2, 2), (4, 2, 1)), {"0": 48, "1": 400}),
    ],
)
def test_tensors_that_lie_about_their_size_are_refused(numbers, sizes, rules):
    with pytest.raises(DamagedError):
        plan_unpickling(build_tensor_pickle(*numbers), sizes, RULES[rules])


@pytest.mark.parametrize(
    "kind", [b"HalfStorage", b"LongStorage", b"ComplexFloatStorage", b"UntypedStorage"]
)
def test_other_storages_are_refused(kind):
    with pytest.raises(DamagedError):
        plan_unpickling(build_tensor_pickle(12, (12,), (1,), storage_type=kind), {"0": 48})


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize(
    "pickle",
    [
        b"",
        b".",
        HEAD,
        HEAD + b"}",
        HEAD + b"}}.",
        HEAD + b"}.more",
        b"\x80\x03}.",
        HEAD + b"]" * 200_000 + b".",
        HEAD + b"}" * 5_000 + b".",
        HEAD + b"}" + b"q\x00" * 400_000 + b".",
        HEAD + b"h\x07.",
        HEAD + b"t.",
        HEAD + b"R.",
        HEAD + b"Q.",
        HEAD + b"s.",
        HEAD + b"}X\xff\xff\xff\xffabc",
        HEAD + b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        DEEP_TUPLE,
        *ONLY_STRICT,
        HEAD + b"}X\x01\x00\x00\x00aK\x01sX\x01\x00\x00\x00aK\x01s.",
        HEAD + b"I" + b"9" * 50_000 + b"\n.",
    ],
)
def test_odd_pickles_are_refused(pickle, rules):
    if pickle in ONLY_STRICT and rules != "strict":
        assert plan_unpickling(pickle, {}, RULES[rules]) == {1: 1}
        return
    with pytest.raises(DamagedError):
        plan_unpickling(pickle, {}, RULES[rules])


@pytest.mark.parametrize("rules", RULES)
def test_a_huge_pickle_is_refused_unread(rules):
    with pytest.raises(DamagedError, match="more than plain"):
        plan_unpickling(bytes((9 if rules == "model" else 5) << 20), {}, RULES[rules])


def test_the_limits_of_each_kind_of_file_are_these():
    limits = [(r.max_opcodes, r.max_pickle_bytes, r.max_entries) for r in RULES.values()]
    prompt_bytes = (4 << 20) + (64 << 10)
    assert limits == [
        (2_000, prompt_bytes, 32),
        (20_000, prompt_bytes, 32),
        (400_000, 8 << 20, 8_192),
    ]
