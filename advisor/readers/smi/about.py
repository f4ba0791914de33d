"""What looks say about the machine and its cards, apart from the load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from advisor.readers.rows import Row, row
from advisor.readers.smi.look import Look

_MODES = {
    "default": "default",
    "e. process": "exclusive_process",
    "exclusive_process": "exclusive_process",
    "e. thread": "exclusive_thread",
    "exclusive_thread": "exclusive_thread",
    "prohibited": "prohibited",
}


def about(looks: Sequence[Look]) -> Iterator[Row]:
    """Facts that stand for themselves."""
    machine = [look.words.get("", {}) for look in looks]
    gpus = [words for look in looks for gpu, words in look.words.items() if gpu]
    yield row("hw.gpu.count", _count(looks), "{gpu}")
    names = [words["name"] for words in gpus if "name" in words]
    yield row("hw.gpu.model", next((name for name in names if "..." not in name), next(iter(names), None)), "{string}")
    yield row("hw.gpu.driver.version", _first(machine, "driver"), "{version}")
    yield row("hw.gpu.driver.cuda_version", _first(machine, "cuda"), "{version}")
    yield row("hw.gpu.compute_capability", _first(gpus, "capability"), "{version}")
    modes = {gpu: _MODES.get(w["mode"].lower()) for k in looks for gpu, w in k.words.items() if "mode" in w}
    which = next((gpu for gpu, mode in modes.items() if mode != "default"), next(iter(modes), None))
    if which is not None:
        yield row("hw.gpu.compute_mode", modes[which], "{string}", f"gpu {which}" if which else None)
    fabric = _first(gpus, "fabric")
    yield row("hw.gpu.fabric.state", fabric.lower() if fabric else None, "{string}")
    lost = {bus for look in looks for bus in look.lost}
    yield row("hw.gpu.count.missing", len(lost) or None, "{gpu}", ", ".join(sorted(lost)))
    broken = {gpu for look in looks for gpu in look.broken}
    states = [state for look in looks for gpu, state in look.states() if gpu]
    if broken or lost or any("temperature" in state or "util" in state for state in states):
        called = ", ".join(f"gpu {gpu}" for gpu in sorted(broken | lost)) or None
        yield row("hw.gpu.unreadable.count", len(broken | lost), "{gpu}", called)


def _count(looks: Sequence[Look]) -> int | None:
    """GPUs that the drivers have; of a machine that does not say, those that were seen."""
    total, told = 0, False
    for host in dict.fromkeys(look.host for look in looks):
        attached = [look.attached for look in looks if look.host == host and look.attached is not None]
        seen = {gpu for look in looks if look.host == host for gpu, _ in look.states() if gpu}
        total += max([len(seen), *attached])
        told = told or bool(attached or seen)
    return total if told else None


def _first(words: Sequence[Mapping[str, str]], key: str) -> str | None:
    return next((w[key] for w in words if key in w), None)
