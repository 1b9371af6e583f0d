"""`qn.solve` on block encodings that the user made: compositions, and single encodings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.encodings import encode
from qnewton_gpu.encodings.composition import block_diagonal, linear_combination, product
from qnewton_gpu.errors import CombinationError, ParameterError, UnknownNameError
from qnewton_gpu.operators import as_operator

CPU = select_backend("cpu")


def definite(size: int, seed: int) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((size, size))
    return a @ a.T / size + np.eye(size)


A, B = definite(8, 0), definite(8, 1)
ONE, TWO = (encode(as_operator(M, CPU), CPU, "walk") for M in (A, B))
COMPOSED = {
    "sum": (linear_combination([1.0, -0.2], [ONE, TWO]), A - 0.2 * B),
    "product": (product(ONE, TWO), A @ B),
    "diagonal": (block_diagonal([ONE, TWO]), np.block([[A, np.zeros((8, 8))], [np.zeros((8, 8)), B]])),
    "single": (ONE, A),
}


@pytest.mark.parametrize("mode", ["subspace", "fused"])
@pytest.mark.parametrize("name", COMPOSED)
def test_a_block_encoding_is_solved_through_itself(name: str, mode: str) -> None:
    encoding, matrix = COMPOSED[name]
    b = np.random.default_rng(2).standard_normal(len(matrix))
    solution = qn.solve(encoding, b, solver="qsvt", mode=mode, tolerance=1e-8)
    assert solution.solved and np.linalg.norm(b - matrix @ solution.x) <= 1e-8 * np.linalg.norm(b)
    assert solution.resources["encoding"] == encoding.name and solution.resources["alpha"] == encoding.alpha


def test_gates_are_those_of_the_encoding_that_was_given() -> None:
    matching = encode(as_operator(A, CPU), CPU, "matching")
    solution = qn.solve(matching, np.ones(8), solver="qsvt", mode="circuit", tolerance=1e-4)
    assert solution.solved and solution.resources["gates"].queries == solution.queries


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"encoding": "walk"}, CombinationError, "already"),
        ({"mode": "circuit"}, CombinationError, "no gate program"),
        ({"solver": "kernel_reflection"}, CombinationError, "symmetric"),
        ({"readout": "shot"}, UnknownNameError, "exact, shots"),
        ({"readout": 7}, ParameterError, "Readout"),
        ({"noise": 1e-3}, ParameterError, "Noise"),
        ({"solver": "lu", "readout": "shots"}, CombinationError, "no circuit"),
        ({"solver": "lu", "noise": qn.Noise(phase_error=0.1)}, CombinationError, "no circuit"),
    ],
)
def test_what_does_not_go_together_is_said_at_the_door(options: dict[str, Any], error: type, word: str) -> None:
    with pytest.raises(error, match=word):
        qn.solve(COMPOSED["product"][0], np.ones(8), **options)


def test_least_squares_is_one_round_and_keeps_its_success_probability() -> None:
    random = np.random.default_rng(0)
    solution = qn.solve(random.standard_normal((12, 5)), random.standard_normal(12), solver="qsvt", tolerance=1e-9)
    assert solution.solved and len(solution.history) == 1 and solution.success_probability > 1e-3
