"""Gate programs as tensor networks, one description for every engine; matrix-product states and operators."""

from .network import Operand, TensorNetwork
from .operators import MatrixProductOperator
from .programs import CircuitNetwork
from .states import MatrixProductState

__all__ = ["CircuitNetwork", "MatrixProductOperator", "MatrixProductState", "Operand", "TensorNetwork"]
