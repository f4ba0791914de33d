"""Looks at some of the batches: their bytes, how long the sequences are, how much is padding, which dtype inputs have.

Shapes are read off any tensor; values only off tensors in host memory, through NumPy when the program has loaded
it, so that no operator of torch runs. Nothing of a batch is kept. The first batches are looked at, then every
sixteenth, and fewer when a look turns out to be long.
"""

from __future__ import annotations

import sys
from collections import UserDict
from time import perf_counter
from typing import Any

from .part import Part

part = Part("looking at batches")
FIRST = 8
EVERY = 16
BUDGET = 2e-6  # seconds per batch that the looks may cost on average
VALUES = 1 << 16  # the most values of one tensor that are read
TENSORS = 16
LOADERS = 32
NEVER = 1 << 62
TOKENS = ("input_ids", "tokens", "token_ids", "text", "inputs", "x")

WATCHED: dict[str, Any] = {}


class Stats:
    """Sums over the batches of one loader that were looked at."""

    def __init__(self) -> None:
        self.drawn = 0
        names = ("seen", "bytes", "looks", "rows", "tokens", "square", "known", "padding", "sequences", "real")
        self.sums = dict.fromkeys(names, 0.0)
        self.widest = self.longest = 0
        self.dtypes: dict[str, int] = {}

    def look(self, batch: Any) -> None:
        """Take one batch into the sums."""
        tensors = _tensors(batch)
        if tensors:
            self.sums["seen"] += 1
        for _, tensor in tensors:
            self.sums["bytes"] += tensor.numel() * tensor.element_size()
            if tensor.dtype.is_floating_point:
                dtype = str(tensor.dtype).replace("torch.", "")
                self.dtypes[dtype] = self.dtypes.get(dtype, 0) + tensor.numel()
        ids = _ids(tensors)
        if ids is None:
            return
        rows, width = ids.shape
        sums = self.sums
        sums["looks"] += 1
        sums["rows"] += rows
        sums["tokens"] += rows * width
        sums["square"] += (rows * width) ** 2
        self.widest = max(self.widest, width)
        found = _lengths(tensors, ids)
        if found is not None:
            lengths, packed = found
            sums["known"] += width if packed else len(lengths) * width
            sums["padding"] += 0 if packed else len(lengths) * width - sum(lengths)
            sums["sequences"] += len(lengths)
            sums["real"] += sum(lengths)
            self.longest = max(self.longest, *lengths)


stats: dict[int, Stats] = {}


def arrived(loader: int, drawn: int, batch: Any) -> int:
    """Batch number `drawn` of the loader with this index reached the program; which number to look at next."""
    own = stats.get(loader)
    if own is None:
        if len(stats) >= LOADERS:
            return NEVER
        own = stats[loader] = Stats()
    own.drawn = drawn
    begin = perf_counter()
    own.look(batch)
    cost = perf_counter() - begin
    return drawn + (1 if drawn < FIRST else max(EVERY, int(cost / BUDGET)))


def _tensors(batch: Any) -> list[tuple[str, Any]]:
    """Dense tensors in the batch with their names, at most two levels down."""
    found: list[tuple[str, Any]] = []
    tensor = sys.modules["torch"].Tensor
    waiting = [("", batch, 0)]
    while waiting and len(found) < TENSORS:
        name, value, depth = waiting.pop(0)
        if isinstance(value, tensor):
            if not (value.is_sparse or getattr(value, "is_nested", False)):
                found.append((name, value))
        elif depth < 3 and isinstance(value, (dict, UserDict)):
            waiting += [(str(key), item, depth + 1) for key, item in list(value.items())[:TENSORS]]
        elif depth < 3 and isinstance(value, (list, tuple)):
            waiting += [(name, item, depth + 1) for item in value[:TENSORS]]
    return found


def _ids(tensors: list[tuple[str, Any]]) -> Any:
    """The token ids: a matrix of integers under a usual name, else the only kind of integer matrix there is."""
    torch = sys.modules["torch"]
    whole = [(n, t) for n, t in tensors if t.dtype in (torch.int64, torch.int32) and t.dim() == 2 and 0 not in t.shape]
    named = {name: tensor for name, tensor in reversed(whole) if name in TOKENS}
    for name in TOKENS:
        if name in named:
            return named[name]
    unnamed = [tensor for name, tensor in whole if not name]
    return unnamed[0] if unnamed and unnamed[0].shape[1] >= 8 and len({t.shape for t in unnamed}) == 1 else None


def _lengths(tensors: list[tuple[str, Any]], ids: Any) -> tuple[list[int], bool] | None:
    """Tokens per sequence without padding (of the first rows when there are many), and whether rows are packed."""
    if "numpy" not in sys.modules:
        return None
    names = dict(reversed(tensors))
    rows = max(1, VALUES // ids.shape[1])
    mask = names.get("attention_mask")
    if mask is not None and mask.shape == ids.shape:
        values = _values(mask, rows)
        return None if values is None else ([int(n) for n in (values != 0).sum(axis=1)], False)
    positions = names.get("position_ids")
    if positions is not None and positions.shape == ids.shape and ids.shape[0] == 1:
        values = _values(positions, rows)
        return None if values is None else _packed(values[0])
    values = _values(ids, rows)
    lengths = None if values is None else _without_tail(values)
    return None if lengths is None else (lengths, False)


def _values(tensor: Any, rows: int) -> Any:
    """The first `rows` rows as a NumPy view; None for tensors that are not plain ones in host memory."""
    if tensor.device.type != "cpu" or type(tensor) is not sys.modules["torch"].Tensor or tensor.shape[1] > VALUES:
        return None
    return tensor.numpy()[:rows]


def _packed(positions: Any) -> tuple[list[int], bool]:
    """Lengths of the sequences in one row whose positions begin anew with each of them."""
    starts = [int(i) for i in (positions == 0).nonzero()[0]]
    return [end - start for start, end in zip(starts, [*starts[1:], len(positions)])], True  # noqa: B905


def _without_tail(ids: Any) -> list[int] | None:
    """Lengths without the run of one token that ends (or else begins) the rows; None when it may not be padding.

    A filler repeats at the end of rows and is rare inside them. Counts and features, which are often zero
    everywhere, are not token ids.
    """
    rows, width = ids.shape
    if int(ids.max()) < 16:
        return None
    for values in (ids, ids[:, ::-1]):
        last = sorted(int(v) for v in values[:, -1])
        filler = max(set(last), key=last.count)
        other = values[:, ::-1] != filler
        tails = other.argmax(axis=1)
        tails[~other.any(axis=1)] = width
        tails[tails < (2 if last.count(filler) > 1 else 8)] = 0  # a full stop or a start mark is no padding
        if not tails.any():
            continue
        inside = int((values == filler).sum() - tails.sum())
        return None if inside > 0.02 * (rows * width - tails.sum()) + rows else [int(width - t) for t in tails]
    return [width] * rows


def content() -> dict[str, Any]:
    """For the output file: by loader index, sums over the batches that were looked at."""
    return {
        str(index): dict(own.sums, drawn=own.drawn, widest=own.widest, longest=own.longest, dtypes=own.dtypes)
        for index, own in stats.items()
    }


def reset() -> None:
    """A forked child counts for itself."""
    stats.clear()
