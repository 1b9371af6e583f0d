"""scripts/bundle_wheels.sh on made-up wheels and without a network: what is collected is installed, or it says why."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bundle_wheels.sh"
PART_BYTES = 64 * 1024
LIBRARY = np.random.default_rng(0).bytes(150_000)  # larger than two parts
BINDINGS = "from . import lib\n"


def make_wheel(folder: Path, name: str, files: dict[str, bytes | str], needs: tuple[str, ...] = ()) -> None:
    """A wheel of version 1.0 for Python 3.12 on this machine; `files` maps paths to contents."""
    tag = f"cp312-cp312-manylinux2014_{platform.machine()}"
    info = f"{name}-1.0.dist-info"
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        "Version: 1.0",
        *(f"Requires-Dist: {other}" for other in needs),
    ]
    with zipfile.ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
        wheel.writestr(f"{info}/METADATA", "\n".join(metadata))
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")


def bundle(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *map(str, arguments)],
        env=os.environ | {"PYTHON": sys.executable} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def assert_refused(result: subprocess.CompletedProcess[str], sentence: str) -> None:
    assert result.returncode == 2
    assert sentence in result.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which pip finds the made-up wheels and nothing else."""
    folder = tmp_path_factory.mktemp("index")
    needs = ("numpy", "cupy-cuda13x", "custatevec-cu13", "cudensitymat-cu13", "nvmath-python")
    make_wheel(folder, "cuquantum_python_cu13", {"cuquantum/__init__.py": BINDINGS}, needs)
    make_wheel(folder, "custatevec_cu13", {"cuquantum/lib/libcustatevec.so.1": LIBRARY})
    make_wheel(folder, "nvmath_python", {"nvmath_python-1.0.data/purelib/nvmath.py": "", "nvmath.libs/libm.so": b""})
    for name in ("numpy", "cupy_cuda13x", "cudensitymat_cu13"):
        make_wheel(folder, name, {f"{name}.py": ""})
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture(scope="module")
def collected(index: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("collected") / "out"
    result = bundle("collect", "--python", "3.12", "--part-size", "64K", out, **index)
    assert result.returncode == 0, result.stderr
    return out


@pytest.fixture
def out(collected: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(collected, tmp_path / "out")


def pieces(out: Path) -> list[Path]:
    return sorted(out.glob("part-*/custatevec*.piece-*"), key=lambda path: path.name)


def test_parts_keep_to_their_size_and_the_manifest_to_the_wheels(collected: Path, index: dict[str, str]) -> None:
    parts = sorted(collected.glob("part-*"))
    assert all(sum(file.stat().st_size for file in part.iterdir()) <= PART_BYTES for part in parts)
    head, *lines = (collected / "manifest").read_text().splitlines()
    assert head == "# CUDA 13, Python 3.12"
    entries = {wheel: (checksum, where) for checksum, wheel, *where in map(str.split, lines)}
    assert {wheel.split("-")[0] for wheel in entries} == {"cuquantum_python_cu13", "custatevec_cu13", "nvmath_python"}
    for wheel, (checksum, _) in entries.items():
        original = Path(index["PIP_FIND_LINKS"]) / wheel
        assert checksum == hashlib.sha256(original.read_bytes()).hexdigest()
    (cut,) = (where for wheel, (_, where) in entries.items() if wheel.startswith("custatevec"))
    assert cut == [piece.parent.name for piece in pieces(collected)]
    assert len(cut) == 3  # and every other wheel is whole
    assert len(list(collected.glob("part-*/*.whl"))) == 2


def test_options_choose_the_packages(index: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--python", "3.12", "--with", "cupy", "--without", "nvmath-python", "--without", "custatevec_cu13")
    result = bundle("collect", *options, out, **index)
    assert result.returncode == 0, result.stderr
    assert {path.name.split("-")[0] for path in out.glob("part-*/*")} == {"cuquantum_python_cu13", "cupy_cuda13x"}


def test_install_unpacks_everything_into_one_folder(out: Path, tmp_path: Path) -> None:
    target = tmp_path / "a folder" / "site"
    result = bundle("install", out, target)
    assert result.returncode == 0, result.stderr
    assert (target / "cuquantum" / "__init__.py").read_text() == BINDINGS
    assert (target / "cuquantum" / "lib" / "libcustatevec.so.1").read_bytes() == LIBRARY
    assert (target / "nvmath.py").is_file()

    show = f"{result.stdout}\necho $PYTHONPATH\necho $LD_LIBRARY_PATH"
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LD_LIBRARY_PATH")}
    shown = subprocess.run(["bash", "-c", show], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == [str(target), f"{target}/cuquantum/lib"]
    environment |= {"PYTHONPATH": "/mine", "LD_LIBRARY_PATH": "/ours"}
    shown = subprocess.run(["bash", "-c", show], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == [f"{target}:/mine", f"{target}/cuquantum/lib:/ours"]


def test_install_warns_of_wheels_for_another_python(out: Path, tmp_path: Path) -> None:
    manifest = out / "manifest"
    manifest.write_text(manifest.read_text().replace("Python 3.12", "Python 3.99"))
    result = bundle("install", out, tmp_path / "site")
    assert result.returncode == 0
    assert "these wheels are for Python 3.99" in result.stderr


def test_install_names_the_missing_parts_and_leaves_nothing(out: Path, tmp_path: Path) -> None:
    gone = [piece.parent for piece in pieces(out)][:2]
    for part in gone:
        shutil.rmtree(part)
    assert_refused(bundle("install", out, tmp_path / "site"), f"missing in {out}: {gone[0].name} {gone[1].name}")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_install_refuses_an_incomplete_part(out: Path, tmp_path: Path) -> None:
    piece = pieces(out)[1]
    piece.unlink()
    assert_refused(bundle("install", out, tmp_path / "site"), f"{piece} is missing: copy {piece.parent.name} again")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("damage", ["changed", "cut short"])
def test_install_refuses_a_damaged_part(out: Path, tmp_path: Path, damage: str) -> None:
    piece = pieces(out)[2]
    content = piece.read_bytes()
    piece.write_bytes(bytes([content[0] ^ 1]) + content[1:] if damage == "changed" else content[:-1])
    assert_refused(bundle("install", out, tmp_path / "site"), "is not what was collected: copy part-")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_install_needs_the_manifest(out: Path, tmp_path: Path) -> None:
    (out / "manifest").write_text("")
    assert_refused(bundle("install", out, tmp_path / "site"), "manifest is not what was collected")
    (out / "manifest").unlink()
    assert_refused(bundle("install", out, tmp_path / "site"), "manifest is missing")


def test_nothing_is_overwritten(out: Path, tmp_path: Path) -> None:
    assert_refused(bundle("install", out, tmp_path), f"{tmp_path} exists")
    assert_refused(bundle("collect", tmp_path), f"{tmp_path} exists")


def test_pip_that_fails_leaves_nothing(index: dict[str, str], tmp_path: Path) -> None:
    result = bundle("collect", "--python", "3.13", tmp_path / "out", **index)
    assert result.returncode != 0
    assert "cuquantum-python-cu13" in result.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "collect or install?"),
        (("fetch",), "unknown command fetch"),
        (("collect",), "collect needs the folder OUT"),
        (("collect", "a", "b"), "not both a and b"),
        (("collect", "--size", "60M", "a"), "unknown option --size"),
        (("collect", "a", "--part-size"), "--part-size needs a value"),
        (("collect", "--with", "--cuda", "a"), "--with needs a value"),
        (("collect", "--part-size", "60", "a"), "--part-size is a size such as 60M, not 60"),
        (("collect", "--part-size", "0M", "a"), "--part-size is a size such as 60M, not 0M"),
        (("collect", "--part-size", "much", "a"), "--part-size is a size such as 60M, not much"),
        (("collect", "--cuda", "11", "a"), "--cuda is 12 or 13, not 11"),
        (("collect", "--python", "three", "a"), "--python is a version such as 3.12, not three"),
        (("install",), "install needs the folders OUT and TARGET"),
        (("install", "a"), "install needs the folders OUT and TARGET"),
    ],
)
def test_wrong_input_is_named(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(bundle(*arguments), sentence)
    assert not any(tmp_path.iterdir())


def test_help_names_every_option() -> None:
    result = bundle("--help")
    assert result.returncode == 0
    assert all(option in result.stdout for option in ("--cuda", "--python", "--part-size", "--with", "--without"))
