"""What a contraction path costs, from index numbers alone; and the path that is the order in time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ..tensor_networks.network import ENTRY_BYTES, TensorNetwork

Path = tuple[tuple[int, ...], ...]
"""As of numpy.einsum_path: positions to be contracted, which leave the list; the result is appended to it."""
FLOPS_A_PRODUCT = 8
"""Real additions and multiplications of one complex product that is added to a sum."""


@dataclass(frozen=True)
class PathCost:
    """A contraction path and what it takes, known before any array is made."""

    path: Path
    flops: float
    """Real additions and multiplications, of complex entries."""
    largest_intermediate: int
    """Entries of the largest array that a contraction makes."""
    bytes: float
    """Operands, and the intermediates that live at the same time, where they are most."""
    finder: str
    """What found the path: "time order", "greedy", "optimal", "cutensornet"."""


@dataclass(frozen=True)
class Step:
    """One contraction of a path: two arrays, which stand at these positions, and the indices that are left of them."""

    positions: tuple[int, int]
    first: tuple[int, ...]
    second: tuple[int, ...]
    kept: frozenset[int]


def time_order(network: TensorNetwork) -> Path:
    """The operands one after the other, each with all before it: a state vector, if they stand in the order in time."""
    count = len(network.operands)
    return ((0, 1), *((0, left - 1) for left in range(count - 1, 1, -1))) if count > 1 else ()


def steps(network: TensorNetwork, path: Path) -> Iterator[tuple[Step, tuple[int, ...]]]:
    """The steps of a path of pairs, each with the indices of its result, in no promised order."""
    live = list(network.indices)
    uses = Counter(index for indices in (*live, network.output) for index in indices)
    for pair in path:
        low, high = sorted(pair)
        second, first = live.pop(high), live.pop(low)
        uses.subtract(first)
        uses.subtract(second)
        result = tuple(index for index in dict.fromkeys((*second, *first)) if uses[index])
        yield Step((low, high), first, second, frozenset(result)), result
        uses.update(result)
        live.append(result)


def path_cost(network: TensorNetwork, path: Path, finder: str) -> PathCost:
    """What the path of pairs takes. Bytes count both inputs of a step twice: products work on transposed copies."""
    extents, operands = network.extents, network.operand_bytes
    live: list[int] = [0] * len(network.operands)  # entries of intermediates; operands are counted once, above
    held, flops, largest, peak = 0, 0.0, 1, 0
    for step, result in steps(network, path):
        low, high = step.positions
        inputs = live.pop(high) + live.pop(low)
        size = math.prod(extents[index] for index in result)
        summed = math.prod(extents[index] for index in {*step.first, *step.second} - step.kept)
        flops += FLOPS_A_PRODUCT * float(size) * summed
        largest, peak = max(largest, size), max(peak, held + inputs + size)
        held += size - inputs
        live.append(size)
    return PathCost(path, flops, largest, float(operands + ENTRY_BYTES * peak), finder)
