"""array-api-strict: the standard and nothing more, to prove that the code keeps to it."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from xpnet.backends.base import Backend, Status, quiet_numpy
from xpnet.errors import BackendUnavailable, shown
from xpnet.typing import Array, HostArray


class ArrayApiStrictBackend(Backend):
    """array-api-strict, slow on purpose.

    Its devices are pretended: `CPU_DEVICE` (or `cpu`), `device1` and `device2` hold their data in
    main memory, but an array of one may not meet an array of another, nor be read by NumPy unless
    it is on `CPU_DEVICE`. A hidden transfer therefore fails here as it would slow down a GPU.
    """

    name = "array_api_strict"
    distribution = "array-api-strict"
    extra = "strict"
    tested_on = ("CPU_DEVICE", "device1")

    @classmethod
    def probe(cls) -> Status:
        found = cls.installed_version()
        if found is None:
            return Status(usable=False, reason=cls.not_installed())
        return Status(usable=True, version=found, device="CPU_DEVICE")

    @classmethod
    def owns(cls, x: Any) -> bool:
        return type(x).__module__.partition(".")[0] == "array_api_strict"

    @classmethod
    def device_of(cls, x: Array) -> str:
        return str(x.device).split("'")[1]  # array_api_strict.Device('device1')

    def open(self, device: str | None) -> None:
        try:
            import array_api_strict as xp
        except Exception as error:
            raise BackendUnavailable(self.import_failure(error)) from error
        names = ("CPU_DEVICE", "device1", "device2")
        name = "CPU_DEVICE" if device in (None, "cpu") else device
        if name not in names:
            raise BackendUnavailable(
                f"the array_api_strict backend has no device {shown(device)}: "
                f"device may be 'cpu' or {', '.join(map(repr, names))}"
            )
        self.xp = xp
        self.device = xp.Device(name)

    def to_numpy(self, x: Array) -> HostArray:
        return np.asarray(self.xp.asarray(x, device=self.xp.Device("CPU_DEVICE")))

    def device_name(self) -> str:
        return str(self.device).split("'")[1]

    def scope(self) -> AbstractContextManager[Any]:
        return quiet_numpy()  # it computes with NumPy
