"""Runs the default job and writes its step table into README.md, so that the README shows what was printed.

.venv/bin/python benchmarks/bench_readme.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from qnewton_gpu.training import TrainConfig, Training

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- default-run: made by `python benchmarks/bench_readme.py` -->", "<!-- /default-run -->"
HEADER = (
    "step", "loss", "test accuracy", "damping", "kappa", "solver", "queries", "success probability",
    "relative residual", "projected", "honest choice",
)  # fmt: skip


def row(line: dict[str, Any]) -> tuple[str, ...]:
    (s,) = line["systems"]
    p = s["success_probability"]
    return (
        str(line["step"] + 1), f"{line['loss']:.4f}", f"{line['accuracy']:.4f}", f"{line['damping']:.2g}",
        f"{s['kappa']:.0f}", s["solver"], str(s["queries"]), "-" if p is None else f"{p:.3f}",
        f"{s['relative_residual']:.1e}", f"{s['projected_seconds'] * 1e3:.1f} ms", s["honest_solver"],
    )  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = Training(TrainConfig(), None, Path(folder) / "run").run()
    cells = [HEADER, ("---",) * len(HEADER), *map(row, lines)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in cells)
    text = README.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
