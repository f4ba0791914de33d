"""A FUSE mount of one large file, "data", whose every answer comes late: a slow remote file system.

It speaks the kernel's protocol itself, since no FUSE library need be here. Run as
``python slow_fuse.py MOUNTPOINT SECONDS [async]``; it prints "mounted", and unmounts when its input ends.
With "async" the kernel reads ahead without waiting, as most FUSE file systems ask it to.
"""

from __future__ import annotations

import ctypes
import os
import select
import stat
import struct
import sys
import time

LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, INIT, FLUSH, INTERRUPT = 1, 2, 3, 14, 15, 18, 26, 25, 36
HEADER = struct.Struct("<IIQQIIII")  # length, operation, request, node, uid, gid, pid, padding
ENOENT, ENOSYS, DETACH, ASYNC_READ = 2, 38, 2, 1
ROOT, DATA, SIZE = 1, 2, 1 << 30


def attributes(node: int) -> bytes:
    mode, size = (stat.S_IFDIR | 0o755, 0) if node == ROOT else (stat.S_IFREG | 0o444, SIZE)
    return struct.pack("<6Q10I", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(operation: int, node: int, body: bytes, flags: int) -> tuple[int, bytes]:
    """Error number and body of the reply."""
    if operation == INIT:
        major, minor, readahead = struct.unpack_from("<III", body)
        return 0, struct.pack("<IIIIHHI", major, minor, readahead, flags, 4, 3, 1 << 16).ljust(64, b"\0")
    if operation == GETATTR:
        return 0, struct.pack("<QII", 0, 0, 0) + attributes(node)
    if operation == LOOKUP and body == b"data\0":
        return 0, struct.pack("<QQQQII", DATA, 0, 0, 0, 0, 0) + attributes(DATA)
    if operation == OPEN:
        return 0, struct.pack("<QII", 1, 0, 0)
    if operation == READ:
        return 0, bytes(struct.unpack_from("<QQI", body)[2])
    return (0, b"") if operation in (RELEASE, FLUSH) else (ENOENT if operation == LOOKUP else ENOSYS, b"")


def serve(file: int, delay: float, flags: int) -> None:
    while True:
        ready, _, _ = select.select([file, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        data = os.read(file, 1 << 18)
        _, operation, request, node = HEADER.unpack_from(data)[:4]
        if operation in (FORGET, INTERRUPT):
            continue
        if operation in (LOOKUP, READ):
            time.sleep(delay)
        error, body = answer(operation, node, data[HEADER.size :], flags)
        os.write(file, struct.pack("<IiQ", 16 + len(body), -error, request) + body)


def main() -> None:
    point, delay = sys.argv[1].encode(), float(sys.argv[2])
    libc = ctypes.CDLL(None, use_errno=True)
    file = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={file},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"slow", point, b"fuse.slow", 0, options):
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    try:
        print("mounted", flush=True)
        serve(file, delay, ASYNC_READ if "async" in sys.argv else 0)
    finally:
        libc.umount2(point, DETACH)


if __name__ == "__main__":
    main()
