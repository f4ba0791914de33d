"""A made-up machine: GPUs and adapters on the PCI bus in /sys, and where a process of it runs in /proc."""

from __future__ import annotations

from pathlib import Path

from advisor.collect import gpu_pci
from advisor.collect.base import Sample

H100 = "0x2330"


class Machine:
    """A /sys and a /proc under `root`."""

    def __init__(self, root: Path, nodes: int = 2) -> None:
        self.sys, self.proc = root / "sys", root / "proc"
        (self.sys / "bus/pci/devices").mkdir(parents=True)
        for node in range(nodes):
            (self.sys / f"devices/system/node/node{node}").mkdir(parents=True)
        self.within(gpu_pci.FIRST_PID_NAMESPACE, "/user.slice/user-1000.slice/session-2.scope")

    def within(self, namespace: str, group: str) -> None:
        (self.proc / "self/ns").mkdir(parents=True, exist_ok=True)
        (self.proc / "self/ns/pid").unlink(missing_ok=True)
        (self.proc / "self/ns/pid").symlink_to(namespace)
        (self.proc / "self/cgroup").write_text(f"0::{group}\n", encoding="utf-8")

    def device(self, path: str, node: int = 0, **files: str) -> Path:
        folder = self.sys / "devices" / path
        folder.mkdir(parents=True)
        (self.sys / "bus/pci/devices" / folder.name).symlink_to(folder)
        for name, text in {"numa_node": str(node), **files}.items():
            (folder / name).write_text(text + "\n", encoding="utf-8")
        return folder

    def gpu(
        self, path: str, node: int = 0, model: str = H100, driver: str | None = "nvidia", dead: bool = False
    ) -> None:
        folder = self.device(path, node, vendor="0x10de", device=model, **{"class": "0x030200"})
        (folder / "config").write_bytes(b"\xff" * 64 if dead else b"\xde\x10" + b"\0" * 62)
        if driver:
            (self.sys / "bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
            (folder / "driver").symlink_to(self.sys / "bus/pci/drivers" / driver)

    def adapter(self, path: str, name: str, node: int = 0, state: str = "4: ACTIVE") -> None:
        folder = self.device(path, node, vendor="0x15b3", device="0x1021", **{"class": "0x020700"})
        (self.sys / f"class/infiniband/{name}/ports/1").mkdir(parents=True)
        (self.sys / f"class/infiniband/{name}/device").symlink_to(folder)
        (self.sys / f"class/infiniband/{name}/ports/1/state").write_text(state + "\n", encoding="utf-8")

    def first(self, *listed: str, count: int | None = None) -> Sample:
        """A first sample of a driver that lists these GPUs."""
        about = {str(i): {"bus": bus, "links": []} for i, bus in enumerate(listed)}
        count = len(listed) if count is None else count
        return {"count": count, "about": about, "pci": gpu_pci.read(self.sys, self.proc), "pairs": []}
