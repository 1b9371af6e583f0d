"""Dense direct solves by torch, on whatever device the tensors are."""

from __future__ import annotations

from typing import Any

import numpy as np


def cholesky_solve(matrix: Any, rhs: Any) -> Any:
    """x with matrix x = rhs; raises numpy.linalg.LinAlgError where matrix is not positive definite."""
    import torch

    factor, info = torch.linalg.cholesky_ex(matrix)
    if int(info):
        raise np.linalg.LinAlgError(f"not positive definite: leading minor {int(info)}")
    return torch.cholesky_solve(rhs, factor)


def lu_solve(matrix: Any, rhs: Any) -> Any:
    """x with matrix x = rhs; raises numpy.linalg.LinAlgError where matrix is exactly singular."""
    import torch

    solution, info = torch.linalg.solve_ex(matrix, rhs)
    if int(info):
        raise np.linalg.LinAlgError(f"exactly singular: pivot {int(info)} is zero")
    return solution
