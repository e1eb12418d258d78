"""What is sent arrives as it was, writable, and shares nothing with what was sent."""

import mmap
import sys
import types
from typing import NamedTuple

import cloudpickle
import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.cluster.local.encoding import KEEP, LARGE, encode, read, room, write
from ddml_kit.cluster.payload import payload_bytes


class Pair(NamedTuple):
    indices: np.ndarray
    values: np.ndarray


class Model:
    def __init__(self, w):
        self.w = w


def travelled(value, offset=64):
    """(value as it arrives, the owner of its memory or None)."""
    encoded = encode(value)
    view = mmap.mmap(-1, offset + room(encoded) + 1)
    write(encoded, view, offset)
    code, _, nbytes, booked, _ = encoded
    assert booked == payload_bytes(value)
    return read(code, nbytes, view, offset)


shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
dtypes = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(),
    npst.floating_dtypes(),
    npst.complex_number_dtypes(),
    npst.datetime64_dtypes(endianness="<"),
    npst.unicode_string_dtypes(max_len=4),
    npst.byte_string_dtypes(max_len=4),
    npst.array_dtypes(),
)


@given(npst.arrays(dtypes, shapes))
def test_an_array_arrives_bit_for_bit(array):
    arrived, _ = travelled(array)
    assert arrived.dtype == array.dtype
    assert arrived.shape == array.shape
    assert arrived.tobytes() == array.tobytes()
    assert arrived.flags.writeable


@given(npst.arrays(np.float32, npst.array_shapes(min_dims=2, max_dims=3)), st.data())
def test_an_array_that_is_not_contiguous_arrives(array, data):
    for part in (array.T, array[::-1], array[:, 1:], np.asfortranarray(array)):
        arrived, _ = travelled(part)
        assert np.array_equal(arrived, part, equal_nan=True)


trees = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(trees)
def test_numbers_text_and_containers_arrive(value):
    arrived, owner = travelled(value)
    assert arrived == value
    assert type(arrived) is type(value)
    assert owner is None


numbers = st.lists(st.integers(-(2**65), 2**65) | st.booleans(), max_size=9)
lasts = st.none() | npst.arrays(dtypes, npst.array_shapes(min_dims=0, max_dims=2, min_side=0))


@given(numbers, lasts)
def test_numbers_with_an_array_or_nothing_arrive(numbers, last):
    arrived, _ = travelled((*numbers, last))
    *arrived_numbers, arrived_last = arrived
    assert type(arrived) is tuple
    assert arrived_numbers == numbers
    assert list(map(type, arrived_numbers)) == list(map(type, numbers))
    if last is None:
        assert arrived_last is None
    else:
        assert (arrived_last.dtype, arrived_last.shape) == (last.dtype, last.shape)
        assert arrived_last.tobytes() == last.tobytes()
        assert arrived_last.flags.writeable


@pytest.mark.parametrize("length", [1, KEEP, LARGE])
def test_numbers_and_a_vector_are_booked_and_kept_as_others_are(length):
    value = (3, 1 << 40, np.arange(length, dtype=np.float32))
    assert encode(value)[3] == payload_bytes(value) == 16 + 4 * length
    arrived, owner = travelled(value)
    assert arrived[:2] == value[:2]
    assert np.array_equal(arrived[2], value[2])
    assert (owner is arrived[2]) == (4 * length >= KEEP)


def test_a_vector_with_gaps_arrives_behind_numbers():
    arrived, _ = travelled((1, np.arange(10)[::2]))
    assert arrived[1].tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("count", [3, KEEP])
def test_a_named_tuple_of_arrays_arrives_writable(count):
    pair = Pair(np.arange(count), np.linspace(0, 1, count))
    pair.indices.flags.writeable = False
    arrived, owner = travelled(pair)
    assert type(arrived) is Pair
    assert np.array_equal(arrived.indices, pair.indices)
    assert np.array_equal(arrived.values, pair.values)
    arrived.indices[0] = arrived.values[0] = 9
    assert (owner is not None) == (count == KEEP)


def test_memory_is_kept_only_for_long_values():
    for count, kept in ((KEEP - 1, False), (KEEP, True)):
        arrived, owner = travelled(np.zeros(count, np.uint8))
        assert (owner is arrived) == kept
    assert travelled(list(range(KEEP)))[1] is None  # a long pickle without arrays


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0).reshape(2, 3),
        torch.arange(6.0).reshape(2, 3).T,
        torch.tensor(3),
        torch.zeros(0, 4),
        torch.ones(5, dtype=torch.bfloat16),
        torch.tensor([1 + 2j]).conj(),
        torch.tensor([True, False]),
        torch.zeros(KEEP),
        torch.ones(3, requires_grad=True) * 2,
    ],
    ids=["matrix", "transposed", "scalar", "empty", "bfloat16", "conj", "bool", "long", "grad"],
)
def test_a_tensor_arrives_without_its_gradient(tensor):
    for arrived in (travelled(tensor)[0], travelled({"w": tensor})[0]["w"]):
        assert type(arrived) is torch.Tensor
        assert arrived.dtype == tensor.dtype
        assert torch.equal(arrived, tensor.detach())
        assert not arrived.requires_grad
        if arrived.numel():
            arrived.reshape(-1)[0] = 0


def test_a_module_arrives_with_its_parameters():
    linear = torch.nn.Linear(3, 2)
    arrived, _ = travelled(linear)
    assert [name for name, _ in arrived.named_parameters()] == ["weight", "bias"]
    assert torch.equal(arrived.weight, linear.weight)


def test_an_object_of_a_class_that_only_a_cell_defines_arrives():
    cell = types.ModuleType("cell_of_a_notebook")
    exec("class Point:\n    def __init__(self, x):\n        self.x = x", cell.__dict__)
    point = cell.Point(np.arange(3.0))
    assert "cell_of_a_notebook" not in sys.modules
    arrived, _ = travelled(point)
    assert type(arrived).__name__ == "Point"
    assert np.array_equal(arrived.x, point.x)
    twice = cloudpickle.loads(cloudpickle.dumps((travelled(point)[0], travelled(point)[0])))
    assert type(twice[0]) is type(twice[1])
    assert travelled(lambda: 7)[0]() == 7


def test_one_array_mentioned_twice_stays_one():
    x = np.zeros(3)
    first, second = travelled([x, x])[0]
    assert first is second
    assert np.array_equal(travelled(Model(x))[0].w, x)


def test_what_cannot_be_sent_gets_a_sentence():
    with pytest.raises(TypeError, match="a generator can't be sent"):
        encode(i for i in range(3))
