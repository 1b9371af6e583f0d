"""How large a system can an exactly described circuit solve on this computer?

Solves the screened Poisson equation (-Laplace + s) x = b on 2^n points, b a point source, with s such that kappa = 10:
QSVT gate by gate on a register that is a matrix-product state. A state vector of n = 40 would take 128 TiB. Printed
for every n: the qubits of the circuit, what its register takes as a chain and would take as a vector, the residual that
was computed in the network, and the error at 81 points around the source against the closed-form solution.

    python examples/how_large_a_system_can_a_circuit_solve.py
    python examples/how_large_a_system_can_a_circuit_solve.py --plot point_source.png
"""

from __future__ import annotations

import argparse

import numpy as np

import qnewton_gpu as qn
from qnewton_gpu.operators.closed_forms import point_solution
from qnewton_gpu.tensor_networks.functions import delta

QUBITS = (10, 20, 30, 40)
KAPPA, TOLERANCE = 10.0, 1e-6
AROUND = np.arange(-40, 41)
COLUMNS = "{:>3} {:>7} {:>10} {:>12} {:>7} {:>5} {:>9} {:>10} {:>13}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plot", metavar="FILE", help="draw x around the source at the largest n")
    options = parser.parse_args()
    print(COLUMNS.format("n", "circuit", "as chain", "as vector", "queries", "bond", "residual", "error", "simulated"))
    for n in QUBITS:
        H, source = qn.screened_poisson([n], kappa=KAPPA), (1 << n) // 3
        solution = qn.solve(H, delta(n, source), solver="qsvt", tolerance=TOLERANCE, backend="tensornet:64")
        x, exact = solution.x.entries(source + AROUND), point_solution(H, source, source + AROUND)
        shown = solution.resources
        qubits = shown["system_qubits"] + shown["ancilla_qubits"]
        error = abs(x - exact).max() / exact.max()
        print(
            COLUMNS.format(
                n, f"{qubits} q", f"{shown['bytes'] / 2**10:.0f} KiB", in_words(qubits + 4),
                solution.queries, shown["bond_dimension"], f"{solution.relative_residual:.1e}", f"{error:.1e}",
                f"{solution.simulated_seconds:.1f} s",
            )
        )  # fmt: skip
    if options.plot:
        draw(options.plot, x, exact, n)


def in_words(exponent: int) -> str:
    """2^exponent bytes."""
    return f"{1 << exponent % 10} {('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')[exponent // 10]}"


def draw(path: str, x: np.ndarray, exact: np.ndarray, qubits: int) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    axis.semilogy(AROUND, abs(exact), color="0.7", linewidth=4, label="closed form")
    axis.semilogy(AROUND, abs(x), ".", markersize=4, label=f"circuit, tolerance {TOLERANCE:g}")
    axis.set_ylim(exact.min() / 100, 2)
    axis.set(xlabel="grid points from the source", ylabel="|x|", title=f"Point source among $2^{{{qubits}}}$ points")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
