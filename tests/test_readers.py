"""What a person names is unpacked, recognised and read; what cannot be used ends in one sentence."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from advisor.errors import InputError, TooLarge
from advisor.pipeline import Advisor
from advisor.readers import artefact as artefacts
from advisor.readers import intake as intakes
from advisor.readers.artefact import Artefact, decode, is_binary
from advisor.readers.intake import Intake, Tree
from advisor.readers.read import opened

PAGE = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 4
vllm:num_requests_waiting{model_name="m"} 0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{model_name="m"} 1000
"""
PROFILE = json.dumps({"subject": "a", "facts": {"ml.step.time": 0.31}})
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.fixture(scope="module")
def advisor(tmp_path_factory: pytest.TempPathFactory) -> Advisor:
    return Advisor(data=tmp_path_factory.mktemp("data"))


def zipped(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("kind", PACKERS)
def test_packed_files_are_read_like_plain_ones_whatever_they_are_called(
    kind: str, tmp_path: Path, advisor: Advisor
) -> None:
    path = tmp_path / "no-ending"
    path.write_bytes(PACKERS[kind](PAGE.encode()))
    (found,) = advisor.diagnose_files([path])
    assert found.profile.facts["gen_ai.server.requests.running"].value == 4


@pytest.mark.parametrize("kind", PACKERS)
def test_data_that_is_cut_off_or_damaged_is_one_sentence(kind: str, tmp_path: Path, advisor: Advisor) -> None:
    whole = PACKERS[kind](os.urandom(200_000))
    damaged = bytearray(whole)
    damaged[1000:1200] = bytes(200)
    for data in (whole[: len(whole) // 2], bytes(damaged)):
        path = tmp_path / "packed"
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"packed is packed, and the data is damaged or cut off .*; copy it again"):
            Artefact("packed", path).read(1 << 20)


def test_archives_and_folders_give_what_is_in_them(tmp_path: Path, advisor: Advisor) -> None:
    folder = tmp_path / "run"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "page").write_bytes(gzip.compress(PAGE.encode()))
    (folder / "noise.bin").write_bytes(bytes(range(256)))
    (folder / "loop").symlink_to(folder)
    tar = tmp_path / "run.tar.gz"
    with tarfile.open(tar, "w:gz") as archive:
        archive.add(folder, "run")
    packed = zipped(tmp_path / "run.zip", page=PAGE, **{"a/b.json": "not json"})
    for path in (folder, tar, packed):
        (found,) = advisor.diagnose_files([path])
        assert found.profile.facts["gen_ai.server.requests.running"].value == 4
        assert found.profile.sources[0].origin.startswith(str(path))


def test_what_cannot_be_used_does_not_stop_the_rest(tmp_path: Path, advisor: Advisor) -> None:
    page, noise, gone = tmp_path / "page", tmp_path / "noise", tmp_path / "gone"
    page.write_text(PAGE)
    noise.write_bytes(bytes(range(256)))
    (found,) = advisor.diagnose_files([gone, noise, page])
    states = {s.origin: (s.state, s.note) for s in found.profile.sources}
    assert states[str(page)][0] == "ok"
    assert states[str(gone)] == ("unreadable", f"{gone} is not there; give the path of a file or folder.")
    assert "binary data of a kind that is not known" in states[str(noise)][1]
    with pytest.raises(InputError, match="is not there"):
        advisor.diagnose_files([gone, noise])


def test_a_profile_and_artefacts_are_judged_apart(tmp_path: Path, advisor: Advisor) -> None:
    (tmp_path / "page").write_text(PAGE)
    (tmp_path / "profile").write_text(PROFILE)
    first, second = advisor.diagnose_files([tmp_path / "page", tmp_path / "profile"])
    assert first.profile.facts["ml.step.time"].value == 0.31
    assert "gen_ai.server.requests.running" in second.profile.facts


def test_progress_counts_the_bytes_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_bytes(gzip.compress(PAGE.encode()))
    seen: list[tuple[int, int]] = []
    with opened([path], lambda done, size: seen.append((done, size))):
        pass
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)


# --- bombs and other hostile input ----------------------------------------------------


def test_a_bomb_ends_before_the_disk_or_the_memory_is_full(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    packer = zlib.compressobj(9, wbits=31)
    with path.open("wb") as file:
        for _ in range(300):
            file.write(packer.compress(bytes(1 << 20)))
        file.write(packer.flush())
    with pytest.raises(TooLarge, match="expands more than 250 times"):
        Artefact("bomb.gz", path).read(1 << 40)


def test_a_stream_over_the_limit_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artefacts, "MAX_EXPANDED", 1000)
    path = tmp_path / "long"
    path.write_bytes(b"x" * 2000)
    with pytest.raises(TooLarge, match="profile fewer steps, or give a part of it"):
        Artefact("long", path).read(1 << 40)


def test_ten_gigabytes_are_refused_before_they_are_read(tmp_path: Path, advisor: Advisor) -> None:
    path = tmp_path / "trace.json"
    with path.open("wb") as file:
        file.write(b'{"traceEvents": [\n')
        file.truncate(10 << 30)  # a file with a hole: it takes no room on the disk
    began = time.perf_counter()
    with pytest.raises(TooLarge, match=r"trace\.json has more than 8 GiB"):
        advisor.diagnose_files([path])
    assert time.perf_counter() - began < 2


def test_zip_bombs_are_known_by_ratio_by_total_and_by_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dense = tmp_path / "dense.zip"
    with zipfile.ZipFile(dense, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(80 << 20))
    overlapping = zipped(tmp_path / "overlap.zip", a="x" * 5000, b="y" * 5000)
    content = bytearray(overlapping.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 42 : entry + 46] = (0).to_bytes(4, "little")  # the second member begins where the first does
    overlapping.write_bytes(bytes(content))
    for path in (dense, overlapping):
        with Intake() as intake, pytest.raises(TooLarge, match="as archives do that are made to fill a disk"):
            intake.take(path)
    monkeypatch.setattr(intakes, "MAX_EXPANDED", 6000)
    with Intake() as intake, pytest.raises(TooLarge, match="would expand to 10,000 bytes"):
        intake.take(zipped(tmp_path / "total.zip", a="x" * 5000, b="y" * 5000))


def test_a_member_that_is_packed_in_an_unknown_way_is_one_sentence(tmp_path: Path, advisor: Advisor) -> None:
    path = zipped(tmp_path / "deflate64.zip", page=PAGE)
    content = bytearray(path.read_bytes())
    for place in (content.index(b"PK\x03\x04") + 8, content.index(b"PK\x01\x02") + 10):
        content[place : place + 2] = (9).to_bytes(2, "little")  # Deflate64, which Windows writes for large files
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"deflate64\.zip!page is packed in a way that cannot be read here"):
        advisor.diagnose_files([path])


def test_a_tar_archive_writes_nothing_outside_of_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("../../escaped", "/absolute", "ok"):
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with Intake() as intake:
        tree = intake.take(path)
        assert isinstance(tree, Tree)
        assert set(tree.files) == {"absolute", "ok"}
        kept = next(iter(tree.files.values())).path
        assert kept is not None
        assert not Path("/absolute").exists()
    assert not kept.exists()


def test_a_folder_or_archive_with_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intakes, "MAX_FILES", 3)
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(5):
        (folder / str(i)).write_text("x")
    archive = zipped(tmp_path / "many.zip", **{str(i): "x" for i in range(5)})
    for path in (folder, archive):
        with Intake() as intake, pytest.raises(TooLarge, match="holds more than 3 files"):
            intake.take(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty", b"", "is empty"),
        ("junk", bytes(range(256)) * 10, "is binary data of a kind that is not known"),
        ("text", b"hello world\n", "is text in which nothing is known"),
        ("json", b'{"a": 1}', "facts: field required"),
        ("deep", b"[" * 100_000, "is not JSON"),
    ],
)
def test_what_nothing_can_be_read_from_is_one_sentence(
    name: str, content: bytes, said: str, tmp_path: Path, advisor: Advisor
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        advisor.diagnose_files([path])
    assert "\n" not in str(caught.value)


def test_special_files_are_refused(tmp_path: Path, advisor: Advisor) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is not a file that ends"):
        advisor.diagnose_files([tmp_path / "pipe"])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="is an empty folder"):
        advisor.diagnose_files([tmp_path / "nothing"])


def test_text_is_known_in_every_usual_encoding() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "ascii"):
        data = "step 1 loss 2.5\n".encode(encoding)
        assert decode(data) == "step 1 loss 2.5\n"
        assert not is_binary(data)
    assert not is_binary("训练很慢\n".encode())
    assert is_binary(bytes(range(256)))
