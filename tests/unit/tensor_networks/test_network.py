"""A network as data: arrays on request, made once; its form for einsum; what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from qnewton_gpu.errors import ShapeError
from qnewton_gpu.tensor_networks.network import ENTRY_BYTES, Operand, TensorNetwork


def test_equal_keys_are_made_once_and_counted_once() -> None:
    calls = []

    def make() -> np.ndarray:
        calls.append(1)
        return np.eye(2)

    shared = [Operand((2, 2), make, "eye") for _ in range(3)]
    own = Operand((2,), lambda: np.ones(2))
    network = TensorNetwork((*shared, own), ((0, 1), (1, 2), (2, 3), (3,)), (0,))
    assert not calls
    arrays = network.arrays()
    assert len(calls) == 1 and arrays[0] is arrays[2]
    assert network.operand_bytes == ENTRY_BYTES * (4 + 2)
    assert network.shape == (2,)
    np.testing.assert_array_equal(np.einsum(*network.interleaved()), [1, 1])


def test_replaced_arrays_stand_in_the_interleaved_form() -> None:
    network = TensorNetwork((Operand.of(np.ones(3)), Operand.of(np.ones(3))), ((5,), (5,)), (5,))
    result = np.einsum(*network.interleaved([np.arange(3.0), 2 * np.ones(3)]))
    np.testing.assert_array_equal(result, [0, 2, 4])


@pytest.mark.parametrize(
    ("shapes", "indices", "output"),
    [
        (((2,), (3,)), ((0,), (0,)), ()),  # two extents
        (((2, 2),), ((0, 0),), ()),  # a trace within one operand
        (((2, 2),), ((0,),), ()),  # an axis without index
        (((2,),), ((0,), (1,)), ()),  # an operand too few
        (((2,),), ((0,),), (1,)),  # an output index that is nowhere
    ],
)
def test_what_does_not_fit_together_is_refused(shapes: tuple, indices: tuple, output: tuple) -> None:
    operands = tuple(Operand.of(np.ones(shape)) for shape in shapes)
    with pytest.raises(ShapeError):
        TensorNetwork(operands, indices, output)
