"""Options that several commands share: the two machines of a projection, and how circuits are simulated."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..backends.base import Backend
    from ..costs import ClassicalMachine, CostModel, Hardware
    from ..noise import Noise
    from ..planning.simulator_rates import SimulatorRates
    from ..readout import Readout
    from ..simulation import RegisterBudget


# written out: the registries are imported with NumPy, and --help has to be quick; a test compares
ENCODING_HELP = (
    "auto, walk, matching, banded, gram, two_sided, kronecker, dilation; for comparison pauli, sparse_access"
)
SOLVER_HELP = (
    "auto (the scheduler); qsvt, qsvt_uniform, qsvt_pseudo_inverse, saddle_free, kernel_reflection, cks, hhl, "
    "adiabatic; classical: cholesky, lu, cg, qr"
)


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the machines that projected seconds belong to")
    group.add_argument("--gate-time", type=float, default=1e-7, metavar="SECONDS", help="of one gate of the level")
    group.add_argument("--level", default="logical", help="of these gates: logical, or physical (surface code)")
    group.add_argument(
        "--physical-error",
        type=float,
        default=None,
        metavar="P",
        help="of a physical gate, below the threshold 1e-2 (1e-3)",
    )
    group.add_argument(
        "--factories", type=int, default=None, metavar="K", help="of T states; default: never waited for"
    )
    group.add_argument("--parallel", type=int, default=1, metavar="K", help="processors that share independent runs")
    group.add_argument(
        "--access", default="qram", help="qram: a query takes log2(N)^2 gates; qrom: one for each stored entry"
    )
    group.add_argument(
        "--charge-readout", default="none", help="none; copies: 0.65 N/eps^2 preparations; inverse: N/eps preparations"
    )
    group.add_argument(
        "--comparison",
        default="ideal",
        help="ideal: the circuit against LU; paper: the formula it plans with against LU; released-code: the same with "
        "its error; honest: best against best, all charged",
    )
    group.add_argument(
        "--machine", default="reference", help="classical machine: reference, h100, server64, or a JSON file"
    )
    group.add_argument(
        "--calibrate",
        action="store_true",
        help="this machine is the classical one: as measured before, or now at first",
    )
    group.add_argument("--recalibrate", action="store_true", help="the same, measured anew")


def add_simulation_arguments(parser: argparse.ArgumentParser) -> None:
    """How circuits are simulated, shared by train and solve."""
    add = parser.add_argument
    add("--mode", default="auto", help="how a circuit is simulated: auto, subspace, fused (whole register) or circuit")
    add(
        "--backend",
        default="auto",
        help="auto (a GPU if there is one), cpu, gpu, or gpu:1 for the second GPU; tensornet (circuits as tensor "
        "networks, contracted exactly), or tensornet:64 (matrix-product states of bond dimension at most 64)",
    )
    add("--register-memory", type=float, default=0.8, metavar="SHARE", help="of free memory that mode auto may fill")
    add("--register-seconds", type=float, default=10.0, metavar="S", help="that mode auto may take for a circuit")


def add_readout_arguments(parser: argparse.ArgumentParser) -> None:
    """How amplitudes are read and disturbed, shared by train and solve."""
    add = parser.add_argument
    add("--readout", default="exact", help="of the amplitudes: exact, or shots")
    add(
        "--shots-per-unknown",
        type=int,
        default=100,
        metavar="S",
        help="S N shots for magnitudes, S N for signs, a round",
    )
    add("--precision", default="double", help="of a whole register: double, or auto (FP32 where its rounding is small)")


def add_noise_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--phase-error",
        type=float,
        default=0.0,
        metavar="RAD",
        help="standard deviation of every phase rotation (QSVT and kernel reflection)",
    )
    add(
        "--depolarising",
        type=float,
        default=0.0,
        metavar="P",
        help="probability of a depolarising error a query (the same)",
    )


def readout_from(options: argparse.Namespace, seed: int = 0) -> Readout:
    from ..readout import Readout

    return Readout(options.readout, options.shots_per_unknown, seed)


def noise_from(options: argparse.Namespace, seed: int = 0) -> Noise:
    from ..noise import Noise

    return Noise(phase_error=options.phase_error, depolarising=options.depolarising, seed=seed)


def computes_on(backend: Backend, asked: str) -> str:
    """A line that says where this command computes, and why "auto" did not take a GPU."""
    from ..backends import why_no_gpu

    reason = why_no_gpu() if asked == "auto" and backend.name == "cpu" else None
    networks, bond = "", getattr(backend, "bond_dimension", None)
    if backend.name == "tensornet":
        chains = f"matrix-product states of bond dimension at most {bond}"
        networks = ", circuits as " + (chains if bond else "tensor networks, contracted exactly")
    return f"computes on {backend.device}{networks}" + (f" (no GPU: {reason})" if reason else "")


def budget_from(options: argparse.Namespace) -> RegisterBudget:
    from ..simulation import RegisterBudget

    return RegisterBudget(options.register_memory, options.register_seconds)


def hardware_from(options: argparse.Namespace) -> Hardware:
    from ..costs import Hardware
    from ..errors import CombinationError

    error = options.physical_error
    if error is not None and options.level == "logical" and options.factories is None:
        problem = "logical gates do not err, and T states are not waited for"
        raise CombinationError("--physical-error", problem, "Add --level physical or --factories, or leave it out")
    return Hardware(
        gate_time=options.gate_time,
        access=options.access,
        readout=options.charge_readout,
        level=options.level,
        physical_error=1e-3 if error is None else error,
        factories=options.factories,
        parallel=options.parallel,
    )


def classical_from(options: argparse.Namespace) -> ClassicalMachine:
    from ..backends import select_backend
    from ..costs import ClassicalMachine, calibrate
    from ..errors import CombinationError

    if not (options.calibrate or options.recalibrate):
        return ClassicalMachine.load(options.machine)
    if options.machine != "reference":
        raise CombinationError(
            "--machine", "states a machine, and --calibrate measures one", "Leave one of the two out"
        )
    return calibrate(select_backend(getattr(options, "backend", "auto")), refresh=options.recalibrate)


def cost_model_from(options: argparse.Namespace) -> CostModel:
    """The stated machines in the comparison that was asked for, with what it charges."""
    from ..costs import CostModel

    checked = CostModel(hardware_from(options), comparison=options.comparison)  # before anything is measured
    return replace(checked, classical=classical_from(options))


def describe(model: CostModel) -> str:
    """Both machines and what is taken for granted, in a few lines."""
    c = model.classical
    return "\n".join(
        [
            "projected seconds are those of two stated machines:",
            "  quantum     " + "\n              ".join(model.hardware.assumptions()),
            f"  classical   {c.name}: Cholesky {c.cholesky_flops / 1e9:.4g} and LU {c.lu_flops / 1e9:.4g} GFLOP/s, "
            f"memory {c.bandwidth / 1e9:.4g} GB/s, " + origin(c),
            f"  comparison  {model.comparison}: {model.rules.said}",
        ]
    )


def origin(machine: ClassicalMachine | SimulatorRates) -> str:
    """Whether a classical machine is stated or was measured, and when."""
    if not machine.measured:
        return "stated"
    return f"measured {age(time.time() - machine.measured_at)} ago (--recalibrate measures anew)"


def age(seconds: float) -> str:
    """A duration in its largest unit.

    >>> age(59), age(3600 * 30), age(-1)
    ('59 s', '1 d', '0 s')
    """
    for name, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"
