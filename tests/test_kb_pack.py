"""The pack of a knowledge base: the same knowledge, never stale, and no way in for foreign code."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from advisor.kb import default_folder, load, pack
from advisor.kb.load import build

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "advisor"


def test_a_pack_holds_the_same_knowledge(cache: Path) -> None:
    built = load()
    assert len(list(cache.iterdir())) == 1

    assert load() == built
    assert pack.read(pack.cached(default_folder())) == built == build(default_folder())


def test_a_wheel_ships_its_pack(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    ask = "from advisor.kb import load; k = load(); print(k.hash, len(k.rules))"
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}

    said = subprocess.check_output([sys.executable, "-c", ask], cwd=tmp_path, env=env, text=True)

    built = build(default_folder())
    assert said.split() == [built.hash, str(len(built.rules))]
    assert not (tmp_path / "advisor").exists(), "the shipped pack makes one in the cache needless"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "knowledge"
    shutil.copytree(default_folder(), target)
    return target


def test_a_changed_byte_gives_another_pack(folder: Path) -> None:
    before = load(folder)
    terms = folder / "terms.yaml"
    kept = terms.stat()
    terms.write_text(terms.read_text(encoding="utf-8").replace("zh: 轻微", "zh: 微小"), encoding="utf-8")
    os.utime(terms, ns=(kept.st_atime_ns, kept.st_mtime_ns))  # same size, same time of change

    after = load(folder)

    assert before.hash != after.hash
    assert (before.terms["severity.minor"].zh, after.terms["severity.minor"].zh) == ("轻微", "微小")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("owned",)


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps({"a": 1}), pickle.dumps(Evil())])
def test_a_foreign_pack_is_not_used_and_runs_nothing(
    cache: Path, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache.mkdir()
    pack.cached(default_folder()).write_bytes(content)

    assert load().rules
    assert not (tmp_path / "owned").exists()


def test_where_nothing_can_be_written_it_still_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert load().rules


def test_old_packs_are_cleared_away(cache: Path) -> None:
    knowledge = load()
    for i in range(10):
        pack.keep(cache / f"knowledge-old-{i}.pack", knowledge)

    assert len(list(cache.iterdir())) == pack.KEPT
