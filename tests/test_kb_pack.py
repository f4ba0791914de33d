"""The pack of a knowledge base: the same knowledge, never stale, and no way in for foreign code."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest

from advisor.kb import default_folder, load, pack


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "advisor"


def test_a_pack_holds_the_same_knowledge(cache: Path) -> None:
    built = load()
    assert len(list(cache.iterdir())) == 1

    assert load() == built
    assert pack.read(pack.name(default_folder())) == built


def test_a_changed_byte_gives_another_pack(tmp_path: Path) -> None:
    folder = tmp_path / "knowledge"
    shutil.copytree(default_folder(), folder)
    before = load(folder)
    terms = folder / "terms.yaml"
    terms.write_text(terms.read_text(encoding="utf-8").replace("zh: 轻微", "zh: 较轻"), encoding="utf-8")

    after = load(folder)

    assert before.hash != after.hash
    assert (before.terms["severity.minor"].zh, after.terms["severity.minor"].zh) == ("轻微", "较轻")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("owned",)


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps({"a": 1}), pickle.dumps(Evil())])
def test_a_foreign_pack_is_not_used_and_runs_nothing(
    cache: Path, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache.mkdir()
    (cache / f"knowledge-{pack.name(default_folder())}.pack").write_bytes(content)

    assert load().rules
    assert not (tmp_path / "owned").exists()


def test_where_nothing_can_be_written_it_still_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert load().rules


def test_old_packs_are_cleared_away(cache: Path) -> None:
    knowledge = load()
    for i in range(10):
        pack.write(f"old-{i}", knowledge)

    assert len(list(cache.iterdir())) == pack.KEPT
