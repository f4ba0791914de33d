"""Run a command under a limit as a container, a slow disk or a slow network sets it, and take it all away after.

    python examples/limits.py cpu --cpus 0.3 -- COMMAND...         at most 0.3 CPUs, by a control group
    python examples/limits.py memory --limit 600M -- COMMAND...    at most 600 MiB, page cache included
    python examples/limits.py disk --read 3M -- COMMAND...         `{folder}` is on a disk that reads 3 MiB/s
    python examples/limits.py fuse --delay-ms 80 -- COMMAND...     `{folder}` is a FUSE mount, 80 ms per read request
    python examples/limits.py network --rate 100mbit -- COMMAND... one rank in each of two network namespaces

Without a number (`--rate` and so on) the same surroundings are made with no limit worth the name. `{folder}` in the
command becomes the slow folder. With `network` the command is started twice, with the variables that torchrun sets, and
`{rank}` in it becomes 0 and 1. Needs Linux and root; control groups of version 1 and 2 both do. The exit status is the
command's own.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
DISK_MB = 512
ADDRESS = "10.213.97."
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Impossible(Exception):
    """The limit cannot be set on this machine; the text says why."""


def size(text: str) -> int:
    """Bytes from `600M` and the like."""
    return int(float(text[:-1]) * UNITS[text[-1].upper()]) if text[-1:].upper() in UNITS else int(text)


def tool(*command: str) -> str:
    """Run one of the system's tools and return what it says."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise Impossible(f"the command {command[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        raise Impossible(f"`{' '.join(command)}` failed: {error.stderr.strip()}") from None
    return done.stdout.strip()


@contextmanager
def group(controller: str, settings: Mapping[int, Mapping[str, str]]) -> Iterator[Path]:
    """A control group with `settings` (version -> file -> value); its processes are ended with it."""
    version = 1 if (GROUPS / controller).is_dir() or (controller == "io" and (GROUPS / "blkio").is_dir()) else 2
    folder = {"io": "blkio"}.get(controller, controller) if version == 1 else "."
    made = GROUPS / folder / f"limits-{os.getpid()}"
    try:
        if version == 2:
            (GROUPS / "cgroup.subtree_control").write_text(f"+{controller}")
        made.mkdir()
    except OSError as error:
        raise Impossible(f"no control group for {controller} can be made here: {error}") from None
    try:
        for file, value in settings[version].items():
            (made / file).write_text(value)
        yield made
    finally:
        for pid in (made / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["sh", "-c", f"until rmdir {made} 2>/dev/null; do sleep 0.1; done"], timeout=10, check=False)


@contextmanager
def folder_for_temporary_files() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f"limits-{os.getpid()}-") as folder:
        yield Path(folder)


@contextmanager
def loop_disk(folder: Path) -> Iterator[tuple[Path, str]]:
    """A file system of its own on a loop device: where it is mounted, and the device's numbers."""
    image, mounted = folder / "disk.img", folder / "disk"
    with image.open("wb") as file:
        file.truncate(DISK_MB << 20)
    mounted.mkdir()
    tool("mkfs.ext4", "-q", "-F", str(image))
    device = tool("losetup", "--find", "--show", str(image))
    try:
        tool("mount", device, str(mounted))
        try:
            numbers = os.stat(device).st_rdev
            yield mounted, f"{os.major(numbers)}:{os.minor(numbers)}"
        finally:
            tool("umount", "--lazy", str(mounted))
    finally:
        tool("losetup", "--detach", device)


@contextmanager
def namespaces(rate: str | None, delay: str | None) -> Iterator[list[str]]:
    """Two network namespaces with a link between them, `eth0` in both; their names."""
    names = [f"limits-{os.getpid()}-{rank}" for rank in range(2)]
    with ExitStack() as stack:
        for name in names:
            tool("ip", "netns", "add", name)
            stack.callback(tool, "ip", "netns", "delete", name)
        tool("ip", "link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "eth0", "netns", names[1])
        for rank, name in enumerate(names):
            tool("ip", "-n", name, "address", "add", f"{ADDRESS}{rank + 1}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                tool("ip", "-n", name, "link", "set", link, "up")
            if delay:
                tool("tc", "-n", name, "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "netem", "delay", delay)
            if rate:
                under = ["parent", "1:"] if delay else ["root"]
                bucket = ["tbf", "rate", rate, "burst", "64kb", "latency", "100ms"]
                tool("tc", "-n", name, "qdisc", "add", "dev", "eth0", *under, *bucket)
        yield names


def run(commands: Sequence[Sequence[str]], variables: Sequence[Mapping[str, str]], inside: Path | None = None) -> int:
    """Run the commands side by side, in the control group `inside`; the first exit status that is not 0."""

    def enter() -> None:
        if inside:
            (inside / "cgroup.procs").write_text(str(os.getpid()))

    started = [
        subprocess.Popen(command, env={**os.environ, **own}, preexec_fn=enter)  # noqa: PLW1509 - no threads here yet
        for command, own in zip(commands, variables, strict=True)
    ]
    try:
        statuses = [process.wait() for process in started]
    except BaseException:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(10)
        raise
    return next((128 - status if status < 0 else status for status in statuses if status), 0)


def filled(command: Sequence[str], **values: object) -> list[str]:
    """The command with `{name}` replaced by its value."""
    for name, value in values.items():
        command = [word.replace("{" + name + "}", str(value)) for word in command]
    return list(command)


def limited(options: argparse.Namespace, command: list[str]) -> int:
    with ExitStack() as stack:
        if options.limit == "cpu":
            quota = str(int(options.cpus * 100_000))
            settings = {1: {"cpu.cfs_quota_us": quota}, 2: {"cpu.max": f"{quota} 100000"}}
            return run([command], [{}], stack.enter_context(group("cpu", settings)))
        if options.limit == "memory":
            most = str(options.bytes)
            settings = {1: {"memory.limit_in_bytes": most}, 2: {"memory.max": most}}
            return run([command], [{}], stack.enter_context(group("memory", settings)))
        if options.limit == "network":
            names = stack.enter_context(namespaces(options.rate, options.delay))
            shared = {"MASTER_ADDR": f"{ADDRESS}1", "MASTER_PORT": "29513", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}
            shared |= {"LOCAL_RANK": "0", "GLOO_SOCKET_IFNAME": "eth0"}
            commands = [["ip", "netns", "exec", name, *filled(command, rank=rank)] for rank, name in enumerate(names)]
            return run(commands, [{**shared, "RANK": str(rank)} for rank in range(2)])
        folder = stack.enter_context(folder_for_temporary_files())
        if options.limit == "disk":
            mounted, device = stack.enter_context(loop_disk(folder))
            throttle = f"{device} {options.read}"
            settings = {
                1: {"blkio.throttle.read_bps_device": throttle},
                2: {"io.max": f"{device} rbps={options.read}"},
            }
            return run([filled(command, folder=mounted)], [{}], stack.enter_context(group("io", settings)))
        from slow_fuse import SlowMirror

        (folder / "behind").mkdir()
        (folder / "bucket").mkdir()
        mirror = SlowMirror(folder / "behind", folder / "bucket", options.delay_ms / 1000)
        stack.callback(mirror.close)
        return run([filled(command, folder=folder / "bucket")], [{}])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run a command under a limit.", usage="limits.py LIMIT [...] -- COMMAND"
    )
    limits = parser.add_subparsers(dest="limit", required=True)
    # a bare `cpu` allows all of them: there is a limit, and it is never reached
    limits.add_parser("cpu").add_argument("--cpus", type=float, default=float(os.cpu_count() or 1))
    limits.add_parser("memory").add_argument("--limit", dest="bytes", type=size, default=size("64G"))
    limits.add_parser("disk").add_argument("--read", type=size, default=size("8G"), help="bytes per second")
    limits.add_parser("fuse").add_argument("--delay-ms", type=float, default=0.0)
    network = limits.add_parser("network")
    network.add_argument("--rate", help="as tc writes it: 100mbit")
    network.add_argument("--delay", help="one way, as tc writes it: 2ms; needs the kernel module sch_netem")
    return parser.parse_args(sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:])


def main() -> int:
    options = arguments()
    command = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    if not command:
        print("limits.py: no command was given; write it after `--`.", file=sys.stderr)
        return 2
    if os.name != "posix" or sys.platform != "linux" or os.geteuid() != 0:
        print(
            "limits.py: setting limits needs root on Linux; run it with sudo or in a privileged container.",
            file=sys.stderr,
        )
        return 2
    # Both ways of stopping unwind the stack, and with it everything that was set up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
    try:
        return limited(options, command)
    except Impossible as why:
        print(f"limits.py: {why}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
