"""GPUs and adapters on the PCI bus: made-up /sys trees, alone and together with the stand-in driver."""

from __future__ import annotations

from pathlib import Path

import pytest
from nvml.machine import H100, Machine

from advisor.collect import gpu_pci
from advisor.collect.base import Facts, Sample
from advisor.collect.gpu_link_facts import connections, missing

OTHER = "0x1db6"
FIRST = gpu_pci.FIRST_PID_NAMESPACE


def lost(first: Sample) -> tuple[float | str | bool, str | None] | None:
    facts = Facts("test")
    missing(facts, first)
    return next(((f.value, f.where) for f in facts.all()), None)


def nearest(first: Sample) -> tuple[float | str | bool, str | None] | None:
    facts = Facts("test")
    states = {i: [{"t": 0.0, "util": 9, "replays": None, "gpm": {}, "nvlink": {}}] for i in first["about"]}
    connections(facts, states, first["about"], first)
    return next(((f.value, f.where) for f in facts.all() if f.name == "hw.gpu.nic.worst_path"), None)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


A, B = "pci0000:10/0000:10:01.0/0000:11:00.0", "pci0000:80/0000:80:01.0/0000:81:00.0"  # a GPU on each socket


def test_all_gpus_listed(machine: Machine) -> None:
    machine.gpu(A), machine.gpu(B, node=1)
    machine.device("pci0000:10/0000:10:01.0/0000:11:00.1", vendor="0x10de", device="0x1aef", **{"class": "0x040300"})
    assert lost(machine.first("0000:11:00.0", "0000:81:00.0")) == (0, None)


def test_a_gpu_on_the_bus_that_the_driver_does_not_list(machine: Machine) -> None:
    machine.gpu(A), machine.gpu(B, node=1)
    assert lost(machine.first("0000:11:00.0")) == (1, "0000:81:00.0")
    assert lost(machine.first()) == (2, "0000:11:00.0, 0000:81:00.0")


@pytest.mark.parametrize(
    ("namespace", "group"),
    [("pid:[4026532838]", "/"), (FIRST, "/system.slice/slurmstepd.scope/job_7/step_0"), (FIRST, "/kubepods.slice/x")],
)
def test_where_others_may_own_the_rest_only_dead_gpus_count(machine: Machine, namespace: str, group: str) -> None:
    machine.gpu(A), machine.gpu(B, node=1)
    machine.within(namespace, group)
    assert lost(machine.first("0000:11:00.0")) is None
    assert lost(machine.first("0000:11:00.0", "0000:81:00.0")) == (0, None)
    machine.gpu("pci0000:80/0000:80:02.0/0000:82:00.0", dead=True)
    assert lost(machine.first("0000:11:00.0", "0000:81:00.0")) == (1, "0000:82:00.0")
    assert lost(machine.first("0000:11:00.0")) == (1, "0000:82:00.0")


@pytest.mark.parametrize(
    ("driver", "model", "expected"), [("vfio-pci", H100, 0), ("nouveau", OTHER, 0), (None, OTHER, 0), (None, H100, 1)]
)
def test_gpus_of_other_drivers_are_not_missing(machine: Machine, driver: str | None, model: str, expected: int) -> None:
    machine.gpu(A), machine.gpu(B, node=1, model=model, driver=driver)
    answer = lost(machine.first("0000:11:00.0"))
    assert answer is not None
    assert answer[0] == expected


def test_a_gpu_that_the_driver_counts_and_cannot_open(machine: Machine) -> None:
    machine.gpu(A), machine.gpu(B, node=1)
    machine.within("pid:[4026532838]", "/")
    assert lost(machine.first("0000:11:00.0", count=2)) == (1, None)


def test_without_a_visible_bus_nothing_is_said(tmp_path: Path) -> None:
    assert gpu_pci.read(tmp_path / "sys", tmp_path / "proc") is None
    assert lost({"count": 1, "about": {"0": {"bus": "0000:11:00.0"}}, "pci": None}) is None


def test_a_bus_with_other_addresses_is_not_compared(machine: Machine) -> None:
    machine.gpu(A)
    assert lost(machine.first("0000:99:00.0")) is None


@pytest.mark.parametrize(
    ("adapter", "node", "way"),
    [
        ("pci0000:10/0000:10:01.0/0000:12:00.0/0000:13:01.0/0000:15:00.0", 0, "PIX"),  # the switch of the GPU
        ("pci0000:10/0000:10:01.0/0000:12:00.0/0000:13:02.0/0000:16:00.0/0000:17:00.0/0000:18:00.0", 0, "PXB"),
        ("pci0000:10/0000:10:03.0/0000:19:00.0", 0, "PHB"),
        ("pci0000:20/0000:20:01.0/0000:21:00.0", 0, "NODE"),
        ("pci0000:80/0000:80:01.0/0000:81:00.0", 1, "SYS"),
        ("pci0000:80/0000:80:01.0/0000:81:00.0", -1, None),
    ],
)
def test_the_way_to_an_adapter(machine: Machine, adapter: str, node: int, way: str | None) -> None:
    machine.gpu("pci0000:10/0000:10:01.0/0000:12:00.0/0000:13:00.0/0000:14:00.0")
    machine.adapter(adapter, "mlx5_0", node)
    answer = nearest(machine.first("0000:14:00.0"))
    assert answer == (None if way is None else (way, "gpu 0"))


def test_the_nearest_adapter_of_each_gpu_and_the_worst_of_them(machine: Machine) -> None:
    machine.gpu(A), machine.gpu(B, node=1)
    machine.adapter("pci0000:10/0000:10:02.0/0000:12:00.0", "mlx5_0")
    machine.adapter("pci0000:80/0000:80:02.0/0000:82:00.0", "mlx5_1", 1, state="1: DOWN")
    assert nearest(machine.first("0000:11:00.0", "0000:81:00.0")) == ("SYS", "gpu 1")


def test_one_numa_node_has_no_far_side(tmp_path: Path) -> None:
    machine = Machine(tmp_path, nodes=1)
    machine.gpu(A, node=-1)
    machine.adapter("pci0000:20/0000:20:01.0/0000:21:00.0", "mlx5_0", -1)
    assert nearest(machine.first("0000:11:00.0")) == ("NODE", "gpu 0")


def test_without_an_adapter_that_is_up_there_is_no_way(machine: Machine) -> None:
    machine.gpu(A)
    machine.adapter("pci0000:10/0000:10:02.0/0000:12:00.0", "mlx5_0", state="2: INIT")
    assert nearest(machine.first("0000:11:00.0")) is None
