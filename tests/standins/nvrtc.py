"""Compiles kernels with NVRTC, which needs no GPU, and reads registers and spills from what ptxas says."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cuda.bindings import nvrtc

from qnewton_gpu.backends import cuda_source

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
TABLE = Path(__file__).parents[2] / "kernels" / "registers.txt"


@dataclass(frozen=True)
class Usage:
    registers: int
    stack: int
    spills: int
    """Bytes of spill stores and loads."""


def version() -> str:
    return "{1}.{2}".format(*nvrtc.nvrtcVersion())


def _checked(result: tuple) -> object:  # type: ignore[type-arg]
    status, *rest = result
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(f"NVRTC: {status}")
    return rest[0] if rest else None


@cache
def compile_kernels(name: str, real: str, architecture: str) -> dict[str, Usage]:
    """What each kernel of a file uses, by its name expression; raises RuntimeError with the log of the compiler."""
    source = cuda_source.source(name, real)
    program = _checked(nvrtc.nvrtcCreateProgram(source.text.encode(), f"{name}.cu".encode(), 0, [], []))
    for expression in source.name_expressions:
        _checked(nvrtc.nvrtcAddNameExpression(program, expression.encode()))
    options = [*source.options, f"--gpu-architecture={architecture}", "--ptxas-options=-v"]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])
    log = bytearray(_checked(nvrtc.nvrtcGetProgramLogSize(program)))  # type: ignore[call-overload]
    text = b" " * len(log)
    nvrtc.nvrtcGetProgramLog(program, text)
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS or "warning" in text.decode():
        raise RuntimeError(text.decode())
    assert _checked(nvrtc.nvrtcGetCUBINSize(program))  # a binary, not only PTX
    lowered = {}
    for expression in source.name_expressions:
        symbol = _checked(nvrtc.nvrtcGetLoweredName(program, expression.encode()))
        lowered[symbol.decode()] = expression  # type: ignore[attr-defined]
    pattern = re.compile(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers",
        re.DOTALL,
    )
    return {
        lowered[symbol]: Usage(int(registers), int(stack), int(stores) + int(loads))
        for symbol, stack, stores, loads, registers in pattern.findall(text.decode())
    }


def table() -> str:
    """Registers and spilled bytes of every kernel on every architecture, as kernels/registers.txt keeps them."""
    lines = [
        f"# Registers a thread (and bytes spilled, where any) of every kernel; NVRTC {version()}. Made by",
        "#   PYTHONPATH=tests python -m standins.nvrtc   after a change of a kernel. Checked by the tests.",
        f"{'kernel':34s}" + "".join(f"{a:>9s}" for a in ARCHITECTURES),
    ]
    for name in cuda_source.NAMES:
        for real in cuda_source.REALS.values():
            used = [compile_kernels(name, real, a) for a in ARCHITECTURES]
            for expression in cuda_source.source(name, real).name_expressions:
                if expression == "advance":
                    continue
                cells = [f"{u[expression].registers}" + (f"+{s}" if (s := u[expression].spills) else "") for u in used]
                lines.append(f"{expression:34s}" + "".join(f"{cell:>9s}" for cell in cells))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table())
    sys.stdout.write(TABLE.read_text())
