"""A slow file system for Linux: a mount that mirrors a folder and takes its time to answer every read.

It speaks the kernel's FUSE protocol (`/dev/fuse`, version 7.31) with the standard library only, and needs root to
mount. It stands in for object storage and network file systems behind FUSE: correct, but with a delay per request.
Renaming, links and attributes other than size and mode are left out. `limits.py fuse` uses it.
"""

import contextlib
import ctypes
import errno
import os
import stat
import struct
import threading
import time
from pathlib import Path

LARGEST = 128 * 1024  # bytes per read or write request
BUFFER = LARGEST + 4096
IN_HEADER = struct.Struct("<IIQQIIIHH")
OUT_HEADER = struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<6Q10I")
MNT_DETACH = 2
VALID = 1  # seconds that the kernel may keep names and attributes

LOOKUP, FORGET, GETATTR, SETATTR, MKDIR, UNLINK, RMDIR, OPEN, READ, WRITE = 1, 2, 3, 4, 9, 10, 11, 14, 15, 16
STATFS, RELEASE, FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR = 17, 18, 20, 25, 26, 27, 28, 29
CREATE, INTERRUPT, DESTROY, BATCH_FORGET = 35, 36, 38, 42
UNANSWERED = (FORGET, INTERRUPT, BATCH_FORGET)

_libc = ctypes.CDLL(None, use_errno=True)


class SlowMirror:
    """Serves `source` at `target`; every READ waits `delay_s` seconds first. `close` unmounts."""

    def __init__(self, source: Path, target: Path, delay_s: float, threads: int = 16) -> None:
        self.source, self.target, self.delay_s = source, target, delay_s
        self._paths = {1: source}
        self._numbers = {source: 1}
        self._lock = threading.Lock()
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other,max_read={LARGEST}"
        if _libc.mount(b"slow-mirror", os.fsencode(target), b"fuse", 0, options.encode()):
            number = ctypes.get_errno()
            os.close(self._device)
            raise OSError(number, f"mounting FUSE at {target}: {os.strerror(number)}")
        for _ in range(threads):  # requests of several readers wait side by side, as on a network
            threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Take the mount away; open files in it fail from now on."""
        _libc.umount2(os.fsencode(self.target), MNT_DETACH)
        os.close(self._device)

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, BUFFER)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return  # unmounted
            _, opcode, unique, node, *_ = IN_HEADER.unpack_from(request)
            number, body = 0, b""
            try:
                body = self._answer(opcode, node, request[IN_HEADER.size :])
            except OSError as error:
                number = error.errno or errno.EIO
            if opcode not in UNANSWERED:
                self._reply(unique, number, body)

    def _reply(self, unique: int, number: int, body: bytes) -> None:
        with contextlib.suppress(OSError):  # the caller was interrupted, or the mount is gone
            os.write(self._device, OUT_HEADER.pack(OUT_HEADER.size + len(body), -number, unique) + body)

    def _answer(self, opcode: int, node: int, data: bytes) -> bytes:
        if opcode in (READ, WRITE, RELEASE, RELEASEDIR, FSYNC):
            return self._on_handle(opcode, data)
        if opcode in (MKDIR, CREATE, LOOKUP, UNLINK, RMDIR):
            return self._on_name(opcode, self._paths[node], data)
        if opcode in (*UNANSWERED, DESTROY, FLUSH):
            return b""
        if opcode == INIT:  # ask for asynchronous reads, large writes and 32 pages per request
            flags = 1 | 1 << 5 | 1 << 22
            return struct.pack("<IIIIHHIIHH8I", 7, 31, LARGEST, flags, 64, 48, LARGEST, 1, 32, 0, *[0] * 8)
        return self._on_path(opcode, self._paths[node], data)

    def _on_path(self, opcode: int, path: Path, data: bytes) -> bytes:
        if opcode in (OPEN, OPENDIR):
            flags = struct.unpack_from("<I", data)[0] & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_DIRECT)
            return struct.pack("<QII", os.open(path, flags), 0, 0)
        if opcode == READDIR:
            return self._entries(path, *struct.unpack_from("<QQI", data)[1:])
        if opcode == STATFS:
            at = os.statvfs(path)
            counts = (at.f_blocks, at.f_bfree, at.f_bavail, at.f_files, at.f_ffree)
            return struct.pack("<5Q4I24x", *counts, at.f_bsize, 255, at.f_frsize, 0)
        if opcode not in (GETATTR, SETATTR):
            raise OSError(errno.ENOSYS, "not offered")
        if opcode == SETATTR:
            valid, _, _, size = struct.unpack_from("<IIQQ", data)
            if valid & 1:
                path.chmod(stat.S_IMODE(struct.unpack_from("<I", data, 68)[0]))
            if valid & 8:
                os.truncate(path, size)
        return struct.pack("<QII", VALID, 0, 0) + self._attributes(path)

    def _on_handle(self, opcode: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", data)
        if opcode == READ:
            time.sleep(self.delay_s)
            return os.pread(handle, size, offset)
        if opcode == WRITE:
            return struct.pack("<II", os.pwrite(handle, data[40 : 40 + size], offset), 0)
        if opcode != FSYNC:
            os.close(handle)
        return b""

    def _on_name(self, opcode: int, folder: Path, data: bytes) -> bytes:
        skipped = {CREATE: 16, MKDIR: 8}.get(opcode, 0)
        path = folder / os.fsdecode(data[skipped:].split(b"\0")[0])
        if opcode == UNLINK:
            path.unlink()
            return b""
        if opcode == RMDIR:
            path.rmdir()
            return b""
        opened = b""
        if opcode == CREATE:
            flags, mode = struct.unpack_from("<II", data)
            opened = struct.pack("<QII", os.open(path, flags | os.O_CREAT, stat.S_IMODE(mode)), 0, 0)
        elif opcode == MKDIR:
            path.mkdir(stat.S_IMODE(struct.unpack_from("<I", data)[0]))
        attributes = self._attributes(path)
        return struct.pack("<QQQQII", self._number(path), 0, VALID, VALID, 0, 0) + attributes + opened

    def _number(self, path: Path) -> int:
        with self._lock:
            if path not in self._numbers:
                number = len(self._paths) + 1
                self._numbers[path], self._paths[number] = number, path
            return self._numbers[path]

    def _attributes(self, path: Path) -> bytes:
        at = path.lstat()
        whole = [time_ns // 10**9 for time_ns in (at.st_atime_ns, at.st_mtime_ns, at.st_ctime_ns)]
        rest = [time_ns % 10**9 for time_ns in (at.st_atime_ns, at.st_mtime_ns, at.st_ctime_ns)]
        who = (at.st_mode, at.st_nlink, at.st_uid, at.st_gid, 0, 4096, 0)
        return ATTRIBUTES.pack(self._number(path), at.st_size, at.st_blocks, *whole, *rest, *who)

    def _entries(self, folder: Path, offset: int, size: int) -> bytes:
        listed = b""
        for at, name in enumerate(sorted(os.listdir(folder))[offset:], offset + 1):
            raw = os.fsencode(name)
            kind = stat.S_IFMT((folder / name).lstat().st_mode) >> 12
            entry = struct.pack("<QQII", self._number(folder / name), at, len(raw), kind) + raw
            entry += b"\0" * (-len(entry) % 8)
            if len(listed) + len(entry) > size:
                break
            listed += entry
        return listed
