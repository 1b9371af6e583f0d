"""Gate programs as tensor networks: one description, made of arrays and index numbers, for every engine."""

from .chain import MatrixProductOperator, MatrixProductState
from .network import Operand, TensorNetwork
from .programs import CircuitNetwork

__all__ = ["CircuitNetwork", "MatrixProductOperator", "MatrixProductState", "Operand", "TensorNetwork"]
