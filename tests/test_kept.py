"""What is kept beside the byte code is used when it is whole, of this make and ours alone; else it is made anew."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from muniment.kept import kept

ROOT = Path(__file__).parents[1]


class Maker:
    """Counts how often something was made."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> bytes:
        self.times += 1
        return b"made"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return tmp_path / "module.py"


def _files(module: Path) -> list[Path]:
    return sorted(Path(importlib.util.cache_from_source(str(module))).parent.glob("*"))


def test_it_is_made_once_for_what_it_is_made_from(module: Path) -> None:
    make = Maker()
    for made_from, times in (([b"a", b"b"], 1), ([b"a", b"b"], 1), ([b"ab", b""], 2), ([b"a", b"b"], 3)):
        assert kept(str(module), "thing", made_from, make) == b"made"
        assert make.times == times
        assert len(_files(module)) == 1, "what is overtaken goes"


@pytest.mark.parametrize("harm", ["cut", "changed", "empty", "written by others", "a link"])
def test_one_that_may_not_be_trusted_is_made_anew(module: Path, harm: str) -> None:
    make = Maker()
    kept(str(module), "thing", [b"a"], make)
    (file,) = _files(module)
    whole = file.read_bytes()
    match harm:
        case "cut":
            file.write_bytes(whole[:-1])
        case "changed":
            file.write_bytes(whole[:-4] + b"evil")
        case "empty":
            file.write_bytes(b"")
        case "written by others":
            file.chmod(0o666)
        case "a link":
            file.rename(module)
            file.symlink_to(module)
    assert kept(str(module), "thing", [b"a"], make) == b"made"
    assert make.times == 2
    assert kept(str(module), "thing", [b"a"], make) == b"made"
    assert make.times == 2, "and mended"
    assert not file.is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_one_of_another_owner_is_not_read(module: Path) -> None:
    make = Maker()
    kept(str(module), "thing", [b"a"], make)
    os.chown(_files(module)[0], 65_534, 65_534)
    kept(str(module), "thing", [b"a"], make)
    assert make.times == 2


def test_without_a_folder_that_takes_files_it_is_made_every_time(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Maker()
    (module.parent / "__pycache__").write_text("in the way")
    assert kept(str(module), "thing", [b"a"], make) == kept(str(module), "thing", [b"a"], make) == b"made"
    assert make.times == 2
    (module.parent / "__pycache__").unlink()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    kept(str(module), "thing", [b"a"], make)
    assert make.times == 3
    assert not (module.parent / "__pycache__").exists()


def test_what_was_kept_is_what_is_read_and_compiled(tmp_path: Path) -> None:
    """The catalogue and the patterns of secrets, made and then read from what was kept."""
    code = (
        "from muniment.privacy.scan import Scrubber\n"
        "from muniment.sources.catalogue import FOLDER, load, read_entry\n"
        "shipped = load()\n"
        "for path in FOLDER.glob('[a-z0-9]*.yaml'):\n"
        "    entry = read_entry(path.read_text('utf-8'), path.name)\n"
        "    assert shipped[entry.name] == entry, path\n"
        "print(Scrubber().scrub([b'{\"password\":\"xYz-12345678\"}', b'{}']))\n"
    )
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    said = [
        subprocess.run(
            [sys.executable, "-c", code], env=environ, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert "[secret:password]" in said[0]
    assert said[0] == said[1]
    assert {path.name.partition(".")[0] for path in tmp_path.rglob("*.kept")} == {"catalogue", "signs"}
