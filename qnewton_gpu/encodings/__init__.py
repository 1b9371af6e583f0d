"""Block encodings: one file and one line of the registry each."""

from __future__ import annotations

import importlib
from typing import Any

from ..backends.base import Backend
from ..errors import UnknownNameError
from ..operators import MatrixOperator, Operator
from .base import KINDS, BlockEncoding, Side

ENCODINGS = {
    "walk": "qnewton_gpu.encodings.walk:WalkEncoding",
    "gram": "qnewton_gpu.encodings.gram:GramEncoding",
    "dilation": "qnewton_gpu.encodings.dilation:DilationEncoding",
    "matching": "qnewton_gpu.encodings.matching:MatchingEncoding",
    "banded": "qnewton_gpu.encodings.banded:BandedEncoding",
    "two_sided": "qnewton_gpu.encodings.two_sided:TwoSidedEncoding",
    "kronecker": "qnewton_gpu.encodings.kronecker:KroneckerEncoding",
    "toeplitz": "qnewton_gpu.encodings.toeplitz:ToeplitzEncoding",
    "pauli": "qnewton_gpu.encodings.pauli:PauliEncoding",
    "sparse_access": "qnewton_gpu.encodings.sparse_access:SparseAccessEncoding",
}
WITH_GATES = ("matching", "banded", "dilation", "kronecker", "toeplitz", "pauli")
"""Encodings that have a gate program, for mode="circuit"; the first serves where none is named."""
COMPOSED_WITH_GATES = ("block_diagonal", "extended")
"""Compositions that have one where their parts do."""
LARGEST_DILATION = 64


def _encoding_class(name: str) -> Any:
    module, attribute = ENCODINGS[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def choose_encoding(name: str, operator: Operator) -> str:
    """The encoding meant by "auto".

    dilation for a small dense symmetric matrix, else walk; two_sided for a GeneralMatrix, gram for a GramOperator,
    kronecker for a KroneckerOperator, toeplitz for a ToeplitzOperator.

    Raises UnknownNameError, and CombinationError where the encoding named cannot encode this operator.
    """
    if name != "auto":
        if name not in ENCODINGS:
            raise UnknownNameError.among("encoding", name, ("auto", *ENCODINGS))
        _encoding_class(name).check(operator)
        return name
    if isinstance(operator, MatrixOperator) and not operator.sparse and operator.shape[0] <= LARGEST_DILATION:
        return "dilation"
    _, natural = KINDS.get(type(operator), ("", "walk"))
    return natural


def encode(operator: Operator, backend: Backend, name: str = "auto") -> BlockEncoding:
    """The block encoding of that name for this operator; raises UnknownNameError or CombinationError."""
    encoding: BlockEncoding = _encoding_class(choose_encoding(name, operator))(operator, backend)
    return encoding


__all__ = ["ENCODINGS", "BlockEncoding", "Side", "choose_encoding", "encode"]
