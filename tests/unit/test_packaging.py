"""What ships: every subpackage, the CUDA sources and the machine files, and extras that the tested versions satisfy."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SHIPPED = ("pyproject.toml", "setup.cfg", "README.md", "LICENSE", "qnewton_gpu", "kernels")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
PINNED_VERSIONS = {canonicalize_name(name): version for name, version in PINS.items()}


def test_every_subpackage_is_listed() -> None:
    on_disk = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "qnewton_gpu").rglob("__init__.py")}
    listed = PYPROJECT["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(on_disk | {"qnewton_gpu.kernels"})


# CUDA 12 is left out: its torch is older than the tested one
@pytest.mark.parametrize(
    "requirement",
    [*PYPROJECT["project"]["dependencies"], *EXTRAS["test"], *EXTRAS["check"], *EXTRAS["mnist"], *EXTRAS["cuda13"]],
)
def test_the_tested_version_is_pinned_and_within_the_range(requirement: str) -> None:
    needed = Requirement(requirement)
    assert needed.specifier.contains(PINNED_VERSIONS[canonicalize_name(needed.name)])


def test_a_wheel_holds_the_package_the_kernels_and_the_machines(tmp_path: Path) -> None:
    """The wheel is built from a copy, so that nothing is left in the checkout."""
    source = tmp_path / "source"
    source.mkdir()
    for name in SHIPPED:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", tmp_path, source], check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    package = [path.relative_to(source).as_posix() for path in (source / "qnewton_gpu").rglob("*") if path.is_file()]
    kernels = [path.name for suffix in ("cu", "cuh") for path in (source / "kernels").glob(f"*.{suffix}")]
    expected = {*package, *(f"qnewton_gpu/kernels/{name}" for name in kernels)}
    assert {"qnewton_gpu/kernels/common.cuh", "qnewton_gpu/costs/machines/reference.json"} <= expected
    assert packed == expected
