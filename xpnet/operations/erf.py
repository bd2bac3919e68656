"""The error function."""

from xpnet.typing import Array, Namespace


def erf(xp: Namespace, x: Array) -> Array:
    """The error function, 2 / sqrt(π) times the integral of exp(-t²) from 0 to x.

    Rational approximations, right to a few units of the last place of float64: of erf(x) / x up to
    abs(x) = 1, beyond it of (1 - erf(x)) exp(x²).

    Parameters
    ----------
    xp
        The array namespace of `x`.
    x
        Floating point, any shape.

    Returns
    -------
    y
        Same shape and dtype; NaN where x is.

    References
    ----------
    The coefficients are those of S. L. Moshier's Cephes Math Library (`ndtr.c`), 1984 to 2000,
    https://www.netlib.org/cephes/; they are of the kind of W. J. Cody, "Rational Chebyshev
    approximations for the error function", 1969, https://doi.org/10.1090/S0025-5718-1969-0247736-4
    """
    own = getattr(xp, "erf", None)
    if own is not None:
        return own(x)
    square = x * x
    small = x * _ratio(xp.minimum(square, 1.0), _ERF_NUMERATOR, _ERF_DENOMINATOR)
    # From 6 on erf is 1 in float64.
    size = xp.minimum(xp.abs(x), 6.0)
    rest = xp.exp(-size * size)
    rest *= _ratio(size, _ERFC_NUMERATOR, _ERFC_DENOMINATOR)
    large = xp.where(x < 0, rest - 1, 1 - rest)
    return xp.where(square < 1, small, large)


def _ratio(x: Array, numerator: tuple[float, ...], denominator: tuple[float, ...]) -> Array:
    """The ratio of two polynomials of x, coefficients from the highest power, by Horner's rule."""
    values = []
    for first, *coefficients in (numerator, denominator):
        value = first * x
        for coefficient in coefficients[:-1]:
            value += coefficient
            value *= x
        value += coefficients[-1]
        values.append(value)
    ratio, divisor = values
    ratio /= divisor
    return ratio


_ERF_NUMERATOR = (
    9.60497373987051638749e0,
    9.00260197203842689217e1,
    2.23200534594684319226e3,
    7.00332514112805075473e3,
    5.55923013010394962768e4,
)
_ERF_DENOMINATOR = (
    1.0,
    3.35617141647503099647e1,
    5.21357949780152679795e2,
    4.59432382970980127987e3,
    2.26290000613890934246e4,
    4.92673942608635921086e4,
)
_ERFC_NUMERATOR = (
    2.46196981473530512524e-10,
    5.64189564831068821977e-1,
    7.46321056442269912687e0,
    4.86371970985681366614e1,
    1.96520832956077098242e2,
    5.26445194995477358631e2,
    9.34528527171957607540e2,
    1.02755188689515710272e3,
    5.57535335369399327526e2,
)
_ERFC_DENOMINATOR = (
    1.0,
    1.32281951154744992508e1,
    8.67072140885989742329e1,
    3.54937778887819891062e2,
    9.75708501743205489753e2,
    1.82390916687909736289e3,
    2.24633760818710981792e3,
    1.65666309194161350182e3,
    5.57535340817727675546e2,
)
