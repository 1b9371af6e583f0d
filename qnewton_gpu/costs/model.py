"""Projected seconds of every solver on the two stated machines, with every factor kept.

quantum:   rounds * repetitions * readout * (queries * depth(one query) + preparation) * gate_time
classical: assembly + N^3/3 (Cholesky), 2N^3/3 (LU), 4N^3/3 (QR) over the machine's rates, or CG steps: see machine.py

A comparison says who competes and what is charged. `paper` and `released-code` (arXiv 2405.00252) count queries by a
formula; `ideal` and `honest` count those of circuits that are simulated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..errors import CombinationError, ParameterError, UnknownNameError
from .hardware import Hardware
from .machine import ClassicalMachine


@dataclass(frozen=True)
class Comparison:
    """Who competes, by the names of solvers and formulas, and what is charged beside the solve itself."""

    name: str
    quantum: tuple[str, ...]
    classical: tuple[str, ...]
    charges_assembly: bool
    said: str

    @property
    def candidates(self) -> tuple[str, ...]:
        return self.quantum + self.classical


COMPARISONS = {
    comparison.name: comparison
    for comparison in (
        Comparison(
            "ideal", ("qsvt",), ("lu",), False,
            "the simulated circuit (qsvt) against LU; assembly is free, loading and reading are as stated",
        ),
        Comparison(
            "paper", ("jennings",), ("lu",), False,
            "as arXiv 2405.00252 plans: the query count of arXiv 2305.11352 v1 (a formula) against LU; loading, "
            "reading and assembling the matrix are free",
        ),
        Comparison(
            "released-code", ("jennings_released_code",), ("lu",), False,
            "as the paper's released code plans: the same with its extra factor alpha, which is an error",
        ),
        Comparison(
            "honest", ("qsvt", "kernel_reflection"), ("cholesky", "lu", "cg", "qr"), True,
            "the best simulated circuit against the best of Cholesky, LU, CG and QR; assembly, state preparation, "
            "repetitions and readout are charged",
        ),
    )
}  # fmt: skip
FIRST_SUCCESS_PROBABILITY = 0.03  # planned with until a step before has told


@dataclass(frozen=True)
class Cost:
    """Projected seconds of one solver, and the factors whose product (quantum) or sum (classical) they are."""

    solver: str
    seconds: float
    factors: dict[str, float] = field(default_factory=dict)

    @property
    def finite(self) -> bool:
        return math.isfinite(self.seconds)


def repetitions(success_probability: float, amplification: bool) -> float:
    """Runs until success: 1/p, or 2m + 1 with m = round(pi/(4 asin sqrt p) - 1/2) amplification rounds."""
    if not 0 < success_probability <= 1:
        return math.inf
    if not amplification:
        return 1 / success_probability
    angle = math.asin(math.sqrt(success_probability))
    return 2 * max(0, round(math.pi / (4 * angle) - 0.5)) + 1


def readout_preparations(readout: str, size: int, epsilon: float) -> float:
    """Preparations of the state until all N amplitudes are known to l2 error epsilon: 0.65 N/eps^2 or N/eps."""
    return {"none": 1.0, "copies": 0.65 * size / epsilon**2, "inverse": size / epsilon}[readout]


def query_depth(access: str, size: int, nonzeros: int) -> float:
    """Gates of one query: log2(N)^2 with QRAM, a gate for each stored entry with QROM."""
    return max(1.0, math.log2(size) ** 2) if access == "qram" else float(max(1, nonzeros))


def expected_products(kappa: float, epsilon: float, size: int | None = None, decaying: bool = False) -> float:
    """Products that conjugate gradients are expected to take to the relative residual epsilon.

    sqrt(kappa)/2 ln(2/eps), which bounds the error in the norm of H and is met within 15 % by eigenvalues that are
    spread evenly in their logarithm. For Gauss-Newton matrices (decaying), whose eigenvalues fall fast, the geometric
    mean of that and ln(2/eps), which is a fit: over the systems of five small training runs the products were 0.98
    times as many at eps 1e-2 and 0.84 times at 1e-6 (medians), but 0.48 and 0.38 of the bound. At most 2 N: N in exact
    arithmetic, and rounding delays them.
    """
    bound = logarithm = math.log(2 / epsilon)
    bound *= math.sqrt(kappa) / 2
    if decaying:
        bound = min(bound, math.sqrt(bound * logarithm))
    if size is not None and math.isfinite(bound):
        bound = min(bound, 2.0 * size)
    return max(1.0, bound)


def _qubits(size: int) -> float:
    """Logical qubits of the walk on a system of this size."""
    return 2.0 * math.ceil(math.log2(max(size, 2))) + 2


def _free(hardware: Hardware) -> Hardware:
    return replace(hardware, access="qram", readout="none", state_preparation=False)


@dataclass(frozen=True)
class CostModel:
    """Predicts what a solver would take on a stated quantum machine and a stated classical one.

    A comparison charges what its name says: `ideal` takes the hardware as it is given, so that every assumption can be
    changed alone; `honest` adds state preparation, and readout ("inverse") where the hardware reads for free; `paper`
    and `released-code` load by QRAM and read for free. Raises ParameterError, UnknownNameError, and CombinationError
    for hardware that a comparison would not charge.
    """

    hardware: Hardware = field(default_factory=Hardware)
    classical: ClassicalMachine = field(default_factory=ClassicalMachine.load)
    comparison: str = "ideal"

    def __post_init__(self) -> None:
        if not isinstance(self.hardware, Hardware):
            raise ParameterError("hardware", f"{self.hardware!r} is no Hardware", "Pass Hardware(gate_time=...)")
        if not isinstance(self.classical, ClassicalMachine):
            raise ParameterError(
                "classical", f"{self.classical!r} is no ClassicalMachine", "Pass ClassicalMachine.load(name)"
            )
        if self.comparison not in COMPARISONS:
            raise UnknownNameError.among("comparison", self.comparison, COMPARISONS)
        if self.comparison == "honest":
            object.__setattr__(self, "hardware", self.hardware.honest())
        elif self.comparison != "ideal" and self.hardware != _free(self.hardware):
            raise CombinationError(
                "comparison",
                f"{self.comparison} loads by QRAM and reads for free, so other access and readout would do nothing",
                "Leave them out, or use 'ideal' or 'honest'",
            )

    @property
    def rules(self) -> Comparison:
        """Who competes and what is charged in this comparison."""
        return COMPARISONS[self.comparison]

    @property
    def candidates(self) -> tuple[str, ...]:
        return self.rules.candidates

    @property
    def quantum_candidates(self) -> tuple[str, ...]:
        return self.rules.quantum

    @property
    def classical_candidates(self) -> tuple[str, ...]:
        return self.rules.classical

    def under(self, comparison: str) -> CostModel:
        """The same machines in another comparison; but for `honest` these load by QRAM and read for free there.

        Raises UnknownNameError.
        """
        if comparison == self.comparison:
            return self
        hardware = self.hardware if comparison == "honest" else _free(self.hardware)
        return CostModel(hardware, self.classical, comparison)

    def honest(self) -> CostModel:
        """The same machines with the best classical solver as the opponent, and readout and preparation charged."""
        return self.under("honest")

    def quantum(
        self,
        solver: str,
        *,
        queries: float,
        rounds: int,
        success_probability: float,
        size: int,
        nonzeros: int,
        epsilon: float,
        columns: int = 1,
        preparations: float | None = None,
        search_queries: float = 0.0,
        search_runs: float = 0.0,
    ) -> Cost:
        """`rounds` refinement rounds of `queries` queries each, to l2 error `epsilon` a round.

        `preparations` are the successful runs that a readout really takes; None charges what the hardware states. A
        search of `search_queries` in `search_runs` short runs comes once before the rounds (kernel reflection's norm).
        """
        hardware = self.hardware
        depth = query_depth(hardware.access, size, nonzeros)
        load = (depth if hardware.access == "qram" else float(size)) if hardware.state_preparation else 0.0
        factors = {
            "rounds": float(rounds),
            "columns": float(columns),
            "repetitions": repetitions(success_probability, hardware.amplification),
            "readout": readout_preparations(hardware.readout, size, epsilon) if preparations is None else preparations,
            "queries": float(queries),
            "depth": depth,
            "preparation": load,
            "gate_time": hardware.gate_time,
            "success_probability": success_probability,
        }
        if search_queries:
            factors |= {"search_queries": float(search_queries), "search_runs": float(search_runs)}
        gates, qubits = self.gates(factors), _qubits(size)
        if hardware.level == "physical":
            distance, time = hardware.code_distance(gates, qubits), hardware.gate_seconds(gates, qubits)
            factors |= {"qubits": qubits, "code_distance": float(distance), "logical_gate_time": time}
        if hardware.factories is not None:
            factors["t_gates"] = gates * hardware.t_gates_per_gate
        if hardware.parallel > 1:
            copies = factors["readout"] if preparations is not None or hardware.readout == "copies" else 1.0
            factors["independent_runs"] = factors["columns"] * copies
            factors["independent_runs"] *= 1.0 if hardware.amplification else factors["repetitions"]
            factors["parallel"] = hardware.speedup(factors["columns"], factors["repetitions"], copies)
        in_sequence = self._in_sequence([factors])
        return Cost(solver, hardware.seconds(gates, qubits, in_sequence=in_sequence), factors)

    def seconds_of_rounds(self, rounds: Sequence[Sequence[Cost]], size: int) -> float:
        """Projected seconds of one solve from the costs of its rounds, each with one for every column.

        Rounds follow one another, the columns of one share the processors, and one surface code and one kind of T
        state serve all of them.
        """
        columns = [[cost.factors for cost in one] for one in rounds]
        gates = sum(self.gates(factors) for one in columns for factors in one)
        in_sequence = sum(self._in_sequence(one) for one in columns)
        return self.hardware.seconds(gates, _qubits(size), in_sequence=in_sequence)

    def _in_sequence(self, columns: Sequence[dict[str, float]]) -> float:
        """The gates that follow one another where these columns share the processors."""
        gates = sum(self.gates(factors) for factors in columns)
        if self.hardware.parallel == 1:
            return gates
        # a search is adaptive: it is shared by none
        search = sum(factors["columns"] * self._search_gates(factors) for factors in columns)
        runs = sum(factors["independent_runs"] for factors in columns)
        return (gates - search) / self.hardware.speedup(1.0, 1.0, runs) + search

    @classmethod
    def gates(cls, factors: dict[str, float]) -> float:
        """All gates of a solve: on the default hardware, which runs them in sequence, seconds over the gate time."""
        runs = factors["rounds"] * factors["repetitions"] * factors["readout"]
        once = factors["queries"] * factors["depth"] + factors["preparation"]
        return factors["columns"] * (runs * once + cls._search_gates(factors))

    @staticmethod
    def _search_gates(factors: dict[str, float]) -> float:
        search = factors.get("search_queries", 0.0) * factors["depth"]
        return search + factors.get("search_runs", 0.0) * factors["preparation"]

    def factorisation(
        self,
        solver: str,
        size: int,
        assembly_flops: float = 0.0,
        *,
        assembly_bytes: float = 0.0,
        fill_flops: float | None = None,
        entries: float = 0.0,
    ) -> Cost:
        """Cholesky (N^3/3) or LU (2N^3/3), with assembly where the comparison charges it.

        A sparse LU is given by its fill's operations and the stored entries of the matrix.
        """
        flops = {"cholesky": size**3 / 3, "lu": 2 * size**3 / 3}[solver]
        if fill_flops is None:
            return self._direct(solver, size, flops, assembly_flops, assembly_bytes)
        flops, machine = min(flops, fill_flops), self.classical
        rate = machine.sparse_lu_flops or machine.lu_flops
        factors = {"assembly_seconds": 0.0, "flops": flops, "flops_per_second": rate}
        return Cost(solver, machine.sparse_lu_seconds(flops, entries), factors)

    def least_squares(self, rows: int, columns: int, assembly_flops: float = 0.0, assembly_bytes: float = 0.0) -> Cost:
        """QR of a dense matrix: 2 p^2 (q - p/3) operations, p = min(rows, columns), q = max(rows, columns)."""
        small, large = min(rows, columns), max(rows, columns)
        return self._direct("qr", small, 2.0 * small**2 * (large - small / 3), assembly_flops, assembly_bytes)

    def _direct(self, solver: str, order: int, flops: float, assembly_flops: float, assembly_bytes: float) -> Cost:
        machine, assembly = self.classical, 0.0
        rate = machine.rate(solver, order)
        if self.rules.charges_assembly and assembly_flops:
            assembly = machine.assembly_seconds(assembly_flops, assembly_bytes, rate)
        factors = {"assembly_seconds": assembly, "flops": flops, "flops_per_second": rate}
        return Cost(solver, assembly + machine.latency + flops / rate, factors)

    def conjugate_gradients(
        self,
        *,
        kappa: float,
        epsilon: float,
        product_flops: float,
        product_bytes: float,
        columns: int = 1,
        kind: str = "dense",
        size: int | None = None,
        decaying: bool = False,
    ) -> Cost:
        """The expected number of steps (`expected_products`), each a product of this kind and the vectors' own time."""
        bound = max(1.0, math.sqrt(kappa) / 2 * math.log(2 / epsilon)) * columns
        products = expected_products(kappa, epsilon, size, decaying) * columns
        seconds = self.classical.product_seconds(product_flops, product_bytes, kind)
        if size is not None:
            seconds += self.classical.step_seconds(size)
        factors = {"products": products, "product_seconds": seconds, "products_bound": bound}
        return Cost("cg", products * seconds, factors)

    def break_even_gate_time(self, quantum: Cost, classical_seconds: float) -> float:
        """The gate time at which this quantum solver would take as long as `classical_seconds`; 0 where none would."""
        if not quantum.finite:
            return 0.0
        return classical_seconds / (quantum.seconds / quantum.factors["gate_time"])  # seconds are linear in it
