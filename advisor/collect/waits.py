"""What the processes of a job sleep in: the kernel function that each was seen waiting in.

Pressure stall information and iowait count only waits for block devices and page locks. A request
to a file system in user space (FUSE) or to an NFS server is ordinary sleep to the kernel, and only
the function that the task sleeps in (/proc/PID/wchan) tells it. Where the kernel reads ahead, the
task waits for a page instead, as for a disk; then the file that it reads tells whose page that is.
A few processes are looked at per sample, in turn, so the cost does not grow with the job.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence

from advisor.collect.base import Facts, Kept, Sample, read_optional
from advisor.collect.disk import mount_of

LOOKS = 8  # processes per sample
LEAST_LOOKS = 10  # of fewer looks a share means nothing
READS = ("0", "17", "19", "63", "65", "67", "295")  # read, pread64 and readv of x86-64, then of arm64; preadv

# Beginnings of kernel function names. The daemon of a FUSE mount waits for requests in fuse_dev_do_read: that is rest.
FUSE = ("request_wait_answer", "__fuse_request_send", "__fuse_simple_request", "fuse_simple_request", "fuse_wait_")
NFS = ("rpc_wait_bit", "rpc_wait_for", "__rpc_execute", "nfs_wait_", "nfs4_", "nfs3_", "nfs_")
REST = ("fuse_dev_do_read", "nfsd", "svc_", "rpc_async_schedule")
STORAGE = (
    "folio_wait_", "__folio_lock", "wait_on_page_", "__lock_page", "wait_on_buffer", "__wait_on_buffer", "bit_wait_io",
    "io_schedule", "blk_", "__blk", "blkdev_", "submit_bio_wait", "bio_wait", "iomap_dio", "__iomap_dio", "dio_",
    "rq_qos_wait", "wbt_wait", "read_events", "do_io_getevents", "io_cqring_wait", "balance_dirty_pages", "jbd2_",
    "ext4_", "xfs_", "xlog_", "btrfs_", "swap_", "do_swap_page", "p9_client_rpc", "ceph_", "cl_sync_io_wait",
    "ptlrpc_", "ll_file_", "smb2_", "wait_for_response", "cifs_", "zio_wait",
)  # fmt: skip
# Uninterruptible, but not for storage: locks, child processes, drivers.
OTHER = ("rwsem_", "down_", "mutex_", "__mutex", "futex_", "wait_for_vfork", "kernel_clone", "_do_fork", "nv", "uvm",
         "os_acquire", "exit_", "synchronize_", "khugepaged", "msleep", "schedule_timeout")  # fmt: skip


class Looks:
    """Looks at the processes of one tree, a few per sample in turn."""

    def __init__(self, root: int, proc: str, files: Kept) -> None:
        self._root, self._proc, self._files = root, proc, files
        self._turn = 0
        self._types: dict[str, str] = {}

    def read(self, stats: Mapping[int, Sequence[str]]) -> list[str]:
        """``pid parent state function type`` of the root and of the next few processes; "-" is not told.

        `stats` holds the fields of /proc/PID/stat after the name. Reading the function of another user's
        process is denied, and some kernels answer 0. The type is that of the file system that is waited for.
        """
        self._turn += 1
        others = sorted(pid for pid in stats if pid != self._root)
        start = self._turn * (LOOKS - 1) % len(others) if len(others) >= LOOKS else 0
        chosen = [pid for pid in (self._root, *(others + others)[start : start + LOOKS - 1]) if pid in stats]
        found = []
        for pid in dict.fromkeys(chosen):
            state, parent = stats[pid][0], stats[pid][1]
            function = (self._files.optional(f"{self._proc}/{pid}/wchan") if state in "SD" else None) or "0"
            function = "-" if function.strip() == "0" else function.strip()
            kind_ = self._type(pid) if kind(state, function) == "storage" else "-"
            found.append(f"{pid} {parent} {state} {function} {kind_}")
        return found

    def _type(self, pid: int) -> str:
        """Type of the file system of the file that the process reads; a page fault in a mapped file does not tell."""
        call = (read_optional(f"{self._proc}/{pid}/syscall") or "").split()
        if len(call) < 2 or call[0] not in READS:
            return "-"
        try:
            folder = os.path.dirname(os.readlink(f"{self._proc}/{pid}/fd/{int(call[1], 16)}"))
        except OSError:
            return "-"
        if folder not in self._types:
            mountinfo = read_optional(f"{self._proc}/{self._root}/mountinfo") or ""
            self._types[folder] = mount_of(mountinfo, folder)[1] or "-"
        return self._types[folder]


def kind(state: str, function: str, filesystem: str = "-") -> str | None:
    """fuse, nfs or storage; None for a process that runs or waits for something else.

    >>> kind("S", "request_wait_answer"), kind("D", "folio_wait_bit_common"), kind("S", "futex_do_wait")
    ('fuse', 'storage', None)
    >>> kind("D", "folio_wait_bit_common", "fuse.gcsfuse"), kind("D", "folio_wait_bit_common", "ext4")
    ('fuse', 'storage')
    """
    if state not in "SD" or function.startswith(REST):
        return None
    for name, beginnings in (("fuse", FUSE), ("nfs", NFS), ("storage", STORAGE)):
        if function.startswith(beginnings):
            return _of_pages(filesystem) if name == "storage" else name
    return _of_pages(filesystem) if state == "D" and not function.startswith(OTHER) else None


def _of_pages(filesystem: str) -> str:
    if filesystem.startswith("fuse") and filesystem != "fuseblk":
        return "fuse"
    return "nfs" if filesystem.startswith("nfs") else "storage"


def waits(facts: Facts, samples: Sequence[Sample]) -> None:
    """Share of looks that found a process waiting for storage, of the group of siblings that waits most.

    The workers of one loader are siblings: together they show what each of them does, even when
    every epoch has new ones. A root that only waits for them does not dilute their share.
    """
    groups: dict[str, list[tuple[str | None, bool]]] = defaultdict(list)
    for sample in samples:
        for line in sample.get("looks", ()):
            pid, parent, state, function, filesystem = line.split()
            group = f"process {pid}" if pid == str(sample["root"]) else f"children of process {parent}"
            groups[group].append((kind(state, function, filesystem), function != "-" or state not in "SD"))
    enough = {group: looks for group, looks in groups.items() if len(looks) >= LEAST_LOOKS}
    _most(facts, "process.wait.io.fraction", enough, ("fuse", "nfs", "storage"))
    if any(told for looks in enough.values() for _, told in looks):  # else the functions cannot be read here
        _most(facts, "process.wait.fuse.fraction", enough, ("fuse",))
        _most(facts, "process.wait.nfs.fraction", enough, ("nfs",))


def _most(
    facts: Facts, name: str, groups: Mapping[str, Sequence[tuple[str | None, bool]]], kinds: Sequence[str]
) -> None:
    shares = {group: sum(k in kinds for k, _ in looks) / len(looks) for group, looks in groups.items()}
    if shares:
        group = max(shares, key=lambda g: shares[g])
        facts.share(name, shares[group], group if shares[group] else None)
