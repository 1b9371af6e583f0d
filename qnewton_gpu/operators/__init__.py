"""What the matrix of a linear system can be: explicit, symmetric or not, a damped Gram, Kronecker or Toeplitz one."""

from __future__ import annotations

from .arrays import check_magnitude, check_memory
from .base import ExplicitMatrix, MatrixOperator, Operator
from .door import RealForm, as_operator, as_symmetric, real_form
from .general import GeneralMatrix
from .gram import Factor, GramOperator, MatrixFactor
from .kronecker import KroneckerOperator
from .toeplitz import ToeplitzOperator, screened_poisson

__all__ = [
    "ExplicitMatrix",
    "Factor",
    "GeneralMatrix",
    "GramOperator",
    "KroneckerOperator",
    "MatrixFactor",
    "MatrixOperator",
    "Operator",
    "RealForm",
    "ToeplitzOperator",
    "as_operator",
    "as_symmetric",
    "check_magnitude",
    "check_memory",
    "real_form",
    "screened_poisson",
]
