"""Devices by their names, such as `cuda:1`."""

from xpnet.errors import BackendUnavailable, shown


def device_index(name: str, device: str | None, count: int, kinds: tuple[str, ...]) -> int:
    """The number in a device string such as `cuda:1`, checked against the devices there are.

    Parameters
    ----------
    name
        The backend's name, for the message.
    device
        `None` for the first device, or one of `kinds`, with or without a colon and a number.
    count
        How many devices there are.
    kinds
        The words that are allowed before the colon.

    Raises
    ------
    BackendUnavailable
        If the string is malformed or names a device that is not there.
    """
    if device is None:
        return 0
    kind, _, number = device.partition(":")
    digits = number.isascii() and number.isdecimal()
    if kind not in kinds or not (digits or device == kind):
        allowed = " or ".join(f"'{kind}', '{kind}:0', ..." for kind in kinds)
        raise BackendUnavailable(
            f"the {name} backend has no device {shown(device)}: device may be {allowed}"
        )
    index = int(number or 0)
    if index >= count:
        there = "one device" if count == 1 else f"{count} devices"
        raise BackendUnavailable(
            f"the {name} backend has no device {shown(device)}: there is {there}, "
            f"'{kind}:0'" + ("" if count == 1 else f" to '{kind}:{count - 1}'")
        )
    return index
