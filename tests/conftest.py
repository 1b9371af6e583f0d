"""What every test shares: a phase cache of its own, one thread a worker, and the numbers that must be reproduced."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# read when NumPy and torch are first imported: workers that share cores must not each start a pool of threads
os.environ.setdefault("OMP_NUM_THREADS", "1")
# on a GPU node, too, the CPU is what is tested unless a test asks for another backend
os.environ["QNEWTON_BACKEND"] = "cpu"

# the same examples on every machine; a first call may build phases, so there is no deadline
settings.register_profile("qnewton", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("qnewton")


def pytest_configure(config: pytest.Config) -> None:
    """Move the phase cache for tests, doctests and the processes they start; xdist workers share their parent's."""
    if not hasattr(config, "workerinput"):
        os.environ["QNEWTON_CACHE_DIR"] = config.qnewton_cache = tempfile.mkdtemp(prefix="qnewton-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(getattr(config, "qnewton_cache", ""), ignore_errors=True)


@pytest.fixture(scope="session")
def oracles() -> dict[str, Any]:
    """Small cases with every number: polynomials, walk, gram, kernel reflection (made independently, in FP64)."""
    return json.loads((Path(__file__).parent / "oracles" / "cases.json").read_text())


def _gpu() -> Any:
    """The GPU backend of this machine; without one the test is skipped, or fails where QNEWTON_REQUIRE_GPU=1."""
    from qnewton_gpu.backends import select_backend
    from qnewton_gpu.errors import BackendUnavailableError

    try:
        return select_backend("gpu")
    except BackendUnavailableError as missing:
        problem = str(missing)
    if os.environ.get("QNEWTON_REQUIRE_GPU") == "1":
        pytest.fail(f"QNEWTON_REQUIRE_GPU=1, but {problem}", pytrace=False)
    pytest.skip(problem)


@pytest.fixture(
    scope="module",
    params=["cpu", pytest.param("rehearsal", id="rehearsal"), pytest.param("gpu", marks=pytest.mark.gpu)],
)
def backend(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Every backend in turn; "rehearsal" is the GPU backend's code on stand-ins, which is no GPU result."""
    if request.param == "rehearsal":
        from standins.rehearsal import rehearse

        with rehearse() as rehearsed:
            yield rehearsed
    elif request.param == "gpu":
        yield _gpu()
    else:
        from qnewton_gpu.backends import select_backend

        yield select_backend("cpu")


@pytest.fixture(scope="module")
def gpu() -> Any:
    return _gpu()
