"""Masked arrays, which array libraries read through: what is below a mask is no value."""

import sys
from typing import Any

from xpnet.errors import DataError, counted


def unmasked(what: str, x: Any) -> Any:
    """A masked array in which nothing is masked as the array that it is; all else as it is.

    Parameters
    ----------
    what
        What it is called in a message.
    x
        Anything; nested lists may hold masked arrays, or `numpy.ma.masked` itself.

    Raises
    ------
    DataError
        If anything is masked: NumPy's functions would take what is below, which may be NaN, and a
        copy to another library leaves the mask behind.
    """
    ma: Any = sys.modules.get("numpy.ma")
    if ma is None:  # then nobody has made one
        return x
    if isinstance(x, ma.MaskedArray):
        if ma.is_masked(x):
            masked = int(ma.getmaskarray(x).sum())
            raise DataError(
                f"{what}: {masked:,} of {counted(x.size, 'value')} "
                f"{'is' if masked == 1 else 'are'} masked, and a network knows no mask: put "
                "numbers in their place, as with numpy.ma.filled(x, 0), or leave those samples "
                "out, as with numpy.ma.compress_rows"
            )
        return ma.getdata(x)
    if isinstance(x, list | tuple):
        for part in x:
            if isinstance(part, list | tuple | ma.MaskedArray):
                unmasked(what, part)
    return x
