"""The NVML binding, asked in a way that one missing answer costs one number and nothing else.

Cards and drivers differ in what they answer: a call that is not supported gives None in
silence, a call that fails gives None and is remembered, to be told to a person.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

NO_LIBRARY = "NVML shared library not found: no NVIDIA driver on this machine"
VALUE = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")  # by nvmlValueType_t
SILENT = ("NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "ARGUMENT_VERSION_MISMATCH", "DEPRECATED")

Field = tuple[int, int]  # field id and scope; the scope is a link, or 0 where the field has none


class Nvml:
    """An initialised NVML; `trouble` holds the last failure of every GPU.

    Raises FileNotFoundError without a driver, PermissionError when it may not be used, RuntimeError otherwise.
    """

    def __init__(self) -> None:
        self.binding = _initialised()
        self.trouble: dict[str, str] = {}
        self._silent = {self.code(name) for name in SILENT}

    def code(self, name: str) -> int | None:
        """The number of an NVML error; None when the binding is older than the error."""
        number: int | None = getattr(self.binding, f"NVML_ERROR_{name}", None)
        return number

    def ask(self, who: str, call: str, *args: Any, fine: Sequence[str] = ()) -> Any:
        """The answer of one call; None when this card or driver does not offer it, or for an error that is `fine`."""
        try:
            return getattr(self.binding, call)(*args)
        except self.binding.NVMLError as error:
            if error.value not in self._silent and error.value not in map(self.code, fine):
                self.trouble[who] = f"{call} failed ({error})"
        except (self.binding.NVMLLibraryMismatchError, AttributeError):
            pass  # a driver or a binding older than the call
        return None

    def fields(self, who: str, handle: Any, wanted: Sequence[Field]) -> list[float | None]:
        """One value per field in a single call; None for those that this card does not have."""
        if not wanted:
            return []
        values = self.ask(who, "nvmlDeviceGetFieldValues", handle, list(wanted), fine=["INVALID_ARGUMENT"])
        return [None] * len(wanted) if values is None else [_number(value) for value in values]


def _number(value: Any) -> float | None:
    if value.nvmlReturn != 0 or value.valueType >= len(VALUE):
        return None  # the value is only defined together with success
    number: float = getattr(value.value, VALUE[value.valueType])
    return number if math.isfinite(number) else None


def _initialised() -> Any:
    """The NVML binding, ready to use; absence and denial as the exceptions that a collector raises."""
    try:
        import pynvml
    except ImportError:
        raise FileNotFoundError("the Python package nvidia-ml-py is not installed") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            raise FileNotFoundError(NO_LIBRARY) from None
        if error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
            raise FileNotFoundError("the NVIDIA driver is installed but not loaded") from None
        if error.value == pynvml.NVML_ERROR_NO_PERMISSION:
            raise PermissionError("the NVIDIA driver may not be used by this user") from None
        raise RuntimeError(f"nvmlInit failed ({error})") from None
    return pynvml
