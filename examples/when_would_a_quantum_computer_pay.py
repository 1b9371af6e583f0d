"""When would a quantum computer pay? The gate time at which it would, over the order and the condition number.

For linear systems that are known by their numbers alone: N unknowns, kappa, entries a row, and the norm alpha of the
block encoding over ||H||. Every cell is the gate time (projected, in seconds) at which the best quantum candidate of a
comparison takes as long as the best classical one; a machine with slower gates loses. "paper" compares as arXiv
2405.00252 plans: a query count from the literature against LU, loading and reading for free. "honest" charges both, and
lets the best of four classical solvers compete.

    python examples/when_would_a_quantum_computer_pay.py
    python examples/when_would_a_quantum_computer_pay.py --row-nonzeros 64 --machine h100 --plot map.png
"""

from __future__ import annotations

import argparse

import qnewton_gpu as qn
from qnewton_gpu.planning.break_even import BreakEvenMap, break_even_map
from qnewton_gpu.report.maps import SHOWN, save_maps, stated_maps

SIZES = (100, 1000, 10_000, 100_000, 1_000_000)
KAPPAS = (10.0, 100.0, 1e3, 1e4, 1e6)
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"), (1e-12, "ps"), (1e-15, "fs"), (1e-18, "as"))


def in_words(seconds: float) -> str:
    """1.3 us; below 1 as in scientific notation."""
    for unit, name in UNITS:
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.1e} s"


def table(found: BreakEvenMap) -> str:
    """A line for each kappa, with * where the stated gate time is short enough."""
    stated, rules = found.model.hardware.gate_time, found.model.rules
    lines = [f"{rules.name}: {', '.join(rules.quantum)} against {', '.join(rules.classical)}"]
    lines.append("kappa    " + "".join(f"{f'N = {size:.0e}':>13s}" for size in found.sizes))
    for kappa, row in zip(found.kappas, found.gate_times, strict=True):
        cells = (in_words(seconds) + (" *" if seconds >= stated else "  ") for seconds in row)
        lines.append(f"{kappa:<9.0e}" + "".join(f"{cell:>13s}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row-nonzeros", type=int, help="entries a row of the matrix; without it all, N")
    parser.add_argument("--alpha", type=float, default=1.0, help="norm of the block encoding over ||H|| (1)")
    parser.add_argument("--tolerance", type=float, default=1e-2, help="relative residual (0.01)")
    parser.add_argument("--gate-time", type=float, default=1e-7, metavar="SECONDS", help="that is marked (1e-7)")
    parser.add_argument("--machine", default="reference", help="classical machine: a shipped name or a JSON file")
    parser.add_argument("--calibrate", action="store_true", help="this machine is the classical one, as measured")
    parser.add_argument("--plot", metavar="FILE", help="draw both maps into this file, map.png for example")
    options = parser.parse_args()

    stated = {"row_nonzeros": options.row_nonzeros, "alpha": options.alpha, "tolerance": options.tolerance}
    classical = qn.ClassicalMachine.load(options.machine)
    if options.calibrate:
        classical = qn.calibrate(qn.select_backend("auto"))
    machines = qn.CostModel(qn.Hardware(options.gate_time), classical)
    models = [machines.under(name) for name in SHOWN]
    rows = "dense" if options.row_nonzeros is None else f"{options.row_nonzeros} entries a row"
    print(
        f"gate times, projected, at which a quantum computer would break even; * where {in_words(options.gate_time)} "
        f"would do\nsystems: {rows}, alpha/||H|| {options.alpha:g}, tolerance {options.tolerance:g}; classical machine "
        f"{machines.classical.name}\n"
    )
    print("\n\n".join(table(break_even_map(SIZES, KAPPAS, model, **stated)) for model in models))
    if options.plot:
        save_maps(stated_maps(models, **stated, points=40), options.plot)
        print(f"\n{options.plot} written")


if __name__ == "__main__":
    main()
