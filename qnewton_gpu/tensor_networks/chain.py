"""Chain arithmetic: matrix-product states and matrix-product operators, the names that everything else imports."""

from .operators import MatrixProductOperator
from .states import MatrixProductState

__all__ = ["MatrixProductOperator", "MatrixProductState"]
