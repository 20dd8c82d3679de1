"""What is worked out from what ships with Muniment is kept beside the byte code, and not worked out at every start.

Rules: what is kept is trusted as byte code is, which Python runs unseen: it stands in the same folder (`__pycache__`, or
where PYTHONPYCACHEPREFIX says), and one that somebody else owns or may write is not read. Its name says what it was made
from, so nothing is read that a change has overtaken; it begins with the digest of the rest, so nothing is read in part.
Where a folder takes no files, or Python was told to write no byte code, things are worked out at every start: only slower.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["kept"]

_DIGEST_BYTES = 32


def kept(module_file: str, name: str, made_from: Iterable[bytes], make: Callable[[], bytes]) -> bytes:
    """What `make` gives, which depends on nothing but `made_from` and this Python; kept with the byte code of `module_file`."""
    digest = hashlib.sha256(sys.version.encode())
    for part in made_from:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    try:
        folder = Path(importlib.util.cache_from_source(module_file)).parent
    except NotImplementedError:  # a Python without byte code files
        return make()
    stem = f"{name}.{sys.implementation.cache_tag}"
    path = folder / f"{stem}.{digest.hexdigest()[:32]}.kept"
    with contextlib.suppress(OSError):
        if (found := _read(path)) is not None:
            return found
    data = make()
    if not sys.dont_write_bytecode:
        with contextlib.suppress(OSError):
            _write(path, data)
            for older in folder.glob(f"{stem}.*.kept"):
                if older != path:
                    older.unlink(missing_ok=True)
    return data


def _read(path: Path) -> bytes | None:
    """The content; None when it is not whole, or not ours alone."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        about = os.fstat(file.fileno())
        if about.st_uid not in {0, os.geteuid()} or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
        data = file.read()
    content = data[_DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == data[:_DIGEST_BYTES] else None


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all; several processes may do it at once, with the same content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
            file.write(hashlib.sha256(data).digest() + data)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
