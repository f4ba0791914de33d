"""NFS, FUSE and the files that a job has open: made-up counters, and a real mount that is slow."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from advisor.collect.base import Sample
from advisor.collect.data_files import DataFiles
from advisor.collect.nfs import Nfs
from advisor.collect.process import Process
from advisor.collect.sampler import Collector, Sampler
from advisor.collect.waits import LOOKS, kind

OPS = """\
\tper-op statistics
\t        NULL: 1 1 0 44 24 0 0 0 0
\t        READ: {read}
\t       WRITE: 0 0 0 0 0 0 0 0 0
\t     GETATTR: {getattr}
\t      LOOKUP: {lookup}
"""
MOUNTSTATS = """\
device rootfs mounted on / with fstype rootfs
device proc mounted on /proc with fstype proc
device filer:/home mounted on /home with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.2,rsize=1048576,proto=tcp,timeo=600
\tage:\t9000
\txprt:\ttcp 0 0 2 0 0 900 900 0 900 0 2 0 0
{home}
device filer:/set mounted on /data\\040set with fstype nfs statvers=1.1
\txprt:\ttcp 880 1 2 0 0 900 900 0 900 0 2 0 0
{data}
device tmpfs mounted on /tmp with fstype tmpfs
"""
IDLE = OPS.format(read="7 7 0 1 1 0 7 7 0", getattr="90 90 0 1 1 0 9 9 0", lookup="0 0 0 0 0 0 0 0 0")


def rpc(again: int) -> str:
    return f"net 0 0 0 0\nrpc 1000 {again} 1000\nproc3 22 0 1\nproc4 69 0 1\n"


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def facts_of(collector: Collector, samples: Sequence[Sample], seconds: float = 10.0) -> dict[str, Any]:
    facts, _ = collector.parse([{**s, "t": 50.0 + seconds * i} for i, s in enumerate(samples)])
    return {f.name: f.value for f in facts} | {f"{f.name} where": f.where for f in facts if f.where}


def test_nfs_times_are_means_of_the_window_on_the_mount_that_is_waited_for(tmp_path: Path) -> None:
    nfs = Nfs(77, str(tmp_path))
    before = OPS.format(read="100 100 0 1 1 9000 9000 9000 0", getattr="1 1 0 1 1 0 0 0 0", lookup="0 0 0 0 0 0 0 0 0")
    put(tmp_path, {"77/mountstats": MOUNTSTATS.format(home=IDLE, data=before), "net/rpc/nfs": rpc(5)})
    first = nfs.read()
    after = OPS.format(
        read="400 402 0 1 1 9600 13000 13800 0",
        getattr="501 501 0 1 1 0 1000 1000 0",
        lookup="200 200 0 1 1 0 1000 1000 0",
    )
    put(tmp_path, {"77/mountstats": MOUNTSTATS.format(home=IDLE, data=after), "net/rpc/nfs": rpc(25)})
    found = facts_of(nfs, [first, nfs.read()])
    assert found["nfs.client.rpc.rtt"] == pytest.approx(0.006)  # 4000 + 1000 + 1000 ms over 1000 calls
    assert found["nfs.client.rpc.queue_time"] == pytest.approx(0.0006)
    assert found["nfs.client.getattr_lookup.fraction"] == pytest.approx(0.7)
    assert found["nfs.client.rpc.retransmit.rate"] == 2
    assert found["nfs.client.rpc.rtt where"] == "/data set"


def test_an_idle_nfs_mount_has_no_times(tmp_path: Path) -> None:
    nfs = Nfs(77, str(tmp_path))
    put(tmp_path, {"77/mountstats": MOUNTSTATS.format(home=IDLE, data=IDLE)})
    assert facts_of(nfs, [nfs.read()] * 2) == {}


def test_a_mount_that_came_while_we_watched_counts_from_zero(tmp_path: Path) -> None:
    nfs = Nfs(77, str(tmp_path))
    put(tmp_path, {"77/mountstats": MOUNTSTATS.format(home=IDLE, data="")})
    first = nfs.read()
    used = OPS.format(read="50 50 0 1 1 0 500 500 0", getattr="0 0 0 0 0 0 0 0 0", lookup="0 0 0 0 0 0 0 0 0")
    put(tmp_path, {"77/mountstats": MOUNTSTATS.format(home=IDLE, data=used)})
    assert facts_of(nfs, [first, nfs.read()])["nfs.client.rpc.rtt"] == pytest.approx(501 / 51 / 1000 - 1 / 51 / 1000)


def test_no_nfs_is_absent(tmp_path: Path) -> None:
    put(tmp_path, {"self/mountstats": "device proc mounted on /proc with fstype proc\n"})
    with pytest.raises(FileNotFoundError, match="no NFS file system"):
        Nfs(proc=str(tmp_path)).read()


# --- what processes wait in ---


def looks(*groups: str) -> list[Sample]:
    return [{"root": 10, "looks": list(groups), "t": float(i)} for i in range(12)]


@pytest.mark.parametrize(
    ("state", "function", "filesystem", "what"),
    [
        ("S", "request_wait_answer", "-", "fuse"),
        ("S", "fuse_dev_do_read", "-", None),  # the daemon waits for work
        ("D", "folio_wait_bit_common", "fuse.gcsfuse", "fuse"),
        ("D", "folio_wait_bit_common", "fuseblk", "storage"),  # NTFS on a disk
        ("D", "folio_wait_bit_common", "-", "storage"),
        ("S", "rpc_wait_bit_killable", "-", "nfs"),
        ("D", "wait_on_page_bit_common", "nfs4", "nfs"),
        ("D", "-", "-", "storage"),  # the function may not be read, but nothing else sleeps so deeply for long
        ("D", "rwsem_down_write_slowpath", "-", None),  # a lock on the address space
        ("D", "wait_for_vfork_done", "-", None),
        ("S", "futex_do_wait", "-", None),
        ("R", "-", "-", None),
    ],
)
def test_kinds_of_waits(state: str, function: str, filesystem: str, what: str | None) -> None:
    assert kind(state, function, filesystem) == what


def waited(samples: list[Sample]) -> dict[str, Any]:
    base = {"procs": {"10/5": "0 0 0 0 0 0 1 1 1 0 0"}, "threads": None, "limits": None, "fds": None, "cpus": "0",
            "uptime": 9.0, "tick": 100, "page": 4096}  # fmt: skip
    found = facts_of(Process(), [base | s for s in samples])
    return {name: value for name, value in found.items() if name.startswith("process.wait")}


def test_the_workers_are_one_group_and_the_root_does_not_dilute_them() -> None:
    root = "10 1 S futex_do_wait -"
    daemon = "30 1 S fuse_dev_do_read -"
    worker = [
        "11 10 S request_wait_answer -",
        "12 10 S request_wait_answer -",
        "13 10 R - -",
        "14 10 S request_wait_answer -",
    ]
    found = waited(looks(root, daemon, *worker))
    assert found == {
        "process.wait.io.fraction": 0.75, "process.wait.io.fraction where": "children of process 10",
        "process.wait.fuse.fraction": 0.75, "process.wait.fuse.fraction where": "children of process 10",
        "process.wait.nfs.fraction": 0,
    }  # fmt: skip


def test_without_function_names_only_the_sum_is_told() -> None:
    assert waited(looks("10 1 D - -")) == {
        "process.wait.io.fraction": 1,
        "process.wait.io.fraction where": "process 10",
    }
    assert waited(looks("10 1 D - -")[:5]) == {}


def test_every_process_has_its_turn_and_a_sample_stays_small() -> None:
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(20)]
    try:
        process = Process(os.getpid())
        seen = [[line.split()[0] for line in process.read()["looks"]] for _ in range(12)]
        assert {len(pids) for pids in seen} == {LOOKS}
        assert {str(child.pid) for child in children} <= {pid for pids in seen for pid in pids}
        assert all(str(os.getpid()) in pids for pids in seen)
    finally:
        for child in children:
            child.kill()
            child.wait()


# --- open data files ---


def test_data_on_another_mount_than_the_program(tmp_path: Path) -> None:
    mounts = "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / /mnt/bucket rw - fuse.gcsfuse b rw\n"
    put(tmp_path, {"10/stat": "10 (python) S 1 0\n", "10/mountinfo": mounts})
    (tmp_path / "10/fd").mkdir()
    (tmp_path / "10/root").symlink_to("/")
    targets = ["/dev/null", "/home/me/train.py", "/usr/share/zoneinfo/UTC", "socket:[5]", "/mnt/bucket/set/0001.tar",
               "/home/me/vocab.json", "/home/me/labels.csv", "/mnt/bucket/gone (deleted)"]  # fmt: skip
    for i, target in enumerate(targets):
        (tmp_path / f"10/fd/{i}").symlink_to(target)
    # A link made here may always be written, so the mapped files stand for the open ones.
    maps = [f"7f00 {mode} 0 08:01 9    {path}" for mode, path in (
        ("r--s", "/mnt/bucket/set/0001.tar"), ("r--p", "/home/me/vocab.json"), ("r--p", "/home/me/labels.csv"),
        ("r--p", "/home/me/.venv/x.cpython-311-x86_64-linux-gnu.so"), ("r-xp", "/mnt/bucket/program"),
    )]  # fmt: skip
    put(tmp_path, {"10/maps": "\n".join(maps) + "\n7ffd rw-p 0 0:0 0    [stack]\n"})
    data = DataFiles(10, str(tmp_path))
    sample = data.read()
    assert sample["mounts"] == {"fuse.gcsfuse /mnt/bucket": 1, "ext4 /": 2}
    found = facts_of(data, [sample])
    assert found["process.data.filesystem.type"] == "fuse.gcsfuse"  # the remote one makes the waits
    assert (found["process.data.file.count"], found["process.data.file.count where"]) == (1, "/mnt/bucket")


def test_no_data_file_open_gives_no_fact() -> None:
    assert facts_of(DataFiles(), [{"mounts": {}, "best": None, "size": None}]) == {}


def test_files_of_a_real_process(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin", "c.bin", "written.bin"):
        (tmp_path / name).write_bytes(b"x" * 5000)
    program = (
        f"import mmap, time; p = {str(tmp_path)!r}\n"
        "a = open(p + '/a.bin', 'rb'); w = open(p + '/written.bin', 'r+b')\n"
        "f = open(p + '/b.bin', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); f.close()\n"
        "print('open', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    child.stdout.readline()
    try:
        found = facts_of(DataFiles(child.pid), [DataFiles(child.pid).read()])
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert found["process.data.file.count"] == 2  # the open and the mapped one
    size = os.statvfs(tmp_path)
    assert found["process.data.filesystem.utilization"] == pytest.approx(
        (size.f_blocks - size.f_bfree) / (size.f_blocks - size.f_bfree + size.f_bavail), abs=0.01
    )


@contextmanager
def slow_mount(point: Path, seconds: float, *options: str) -> Iterator[None]:
    """A real FUSE mount whose answers take `seconds`; skips where none can be made."""
    point.mkdir()
    program = Path(__file__).parent / "slow_fuse.py"
    daemon = subprocess.Popen(
        [sys.executable, "-S", str(program), str(point), str(seconds), *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert daemon.stdin
    assert daemon.stdout
    mounted = daemon.stdout.readline() == "mounted\n"
    try:
        if not mounted:
            pytest.skip("a FUSE file system cannot be mounted here")
        yield
    finally:
        daemon.stdin.close()
        daemon.wait()
        daemon.stdout.close()


@pytest.mark.parametrize("options", [(), ("async",)])
def test_a_slow_fuse_mount_is_found_while_the_machine_looks_idle(tmp_path: Path, options: tuple[str, ...]) -> None:
    """A launcher with one loader that reads from the mount; with and without read-ahead by the kernel."""
    with slow_mount(tmp_path / "bucket", 0.03, *options):
        reader = f"f = open({str(tmp_path / 'bucket/data')!r}, 'rb', buffering=0)\nwhile True: f.read(65536)"
        launcher = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {reader!r}])"
        child = subprocess.Popen([sys.executable, "-S", "-c", launcher], start_new_session=True)
        data = DataFiles(child.pid)
        data.pause_s = 0.3
        sampler = Sampler([Process(child.pid), data], interval_s=0.1)
        try:
            time.sleep(0.5)
            sampler.start()
            time.sleep(4)
            sampler.stop()
        finally:
            os.killpg(child.pid, 9)
            child.wait()
    found = {f.name: f for r in sampler.readings() for f in r.facts}
    assert float(found["process.wait.fuse.fraction"].value) > 0.6
    assert found["process.wait.fuse.fraction"].where == f"children of process {child.pid}"
    assert found["process.data.filesystem.type"].value == "fuse.slow"
    assert found["process.data.filesystem.type"].where == str(tmp_path / "bucket")
    assert float(found["process.cpu.utilization"].value) < 0.5
