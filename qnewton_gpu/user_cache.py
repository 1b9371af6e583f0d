"""The user's cache folder: what is expensive to make again, for all processes of a user."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from pathlib import Path

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """`QNEWTON_CACHE_DIR`, else the user's cache folder."""
    chosen = os.environ.get("QNEWTON_CACHE_DIR")
    if chosen:
        return Path(chosen)
    import platformdirs

    try:
        return Path(platformdirs.user_cache_dir("qnewton_gpu", appauthor=False))
    except RuntimeError:  # no HOME and no entry for this user, as in some containers
        return Path(tempfile.gettempdir()) / f"qnewton_gpu-{os.getuid()}"


def keep(path: Path, content: bytes, what: str) -> None:
    """Write a cache entry to a temporary file and rename it, so that a reader never sees half of one.

    A cache that cannot be written costs time, not a result: a warning says so, and nothing is raised.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError as problem:
        _log.warning("%s cannot be kept in %s (%s)", what, path.parent, problem)
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
