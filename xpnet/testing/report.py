"""What a check of gradients found."""

from dataclasses import dataclass


class GradientError(AssertionError):
    """A gradient is wrong, or the contract of a layer or a loss is not kept."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    what
        The gradient (`dx`, `dweight`, ...), or the rule of the contract.
    ok
        Whether it is right.
    analytic, numeric, error
        The slope by the backward pass, the slope by differences, and how far they are apart,
        relative to the larger one; None for a rule.
    detail
        What is wrong.
    """

    what: str
    ok: bool
    analytic: float | None = None
    numeric: float | None = None
    error: float | None = None
    detail: str = ""

    def __str__(self) -> str:
        if self.detail or self.error is None:
            return f"{self.what}: {self.detail or 'ok'}"
        return (
            f"{self.what}: the slope is {self.analytic:.9g} by backward, {self.numeric:.9g} by "
            f"differences: a relative error of {self.error:.1e}"
        )


@dataclass(frozen=True)
class GradientReport:
    """What was checked; `print` shows it as a table, `ok` is the verdict.

    Attributes
    ----------
    subject
        The layer or the loss.
    checks
        What was looked at, in order; for a gradient, one for each direction.
    """

    subject: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether all is right."""
        return all(check.ok for check in self.checks)

    def raise_if_wrong(self) -> None:
        """Raise a `GradientError`, an `AssertionError`, that says what is wrong and by how much."""
        wrong = [check for check in self.checks if not check.ok]
        if wrong:
            lines = "\n".join(f"  {check}" for check in wrong)
            raise GradientError(f"{self.subject} is wrong:\n{lines}")

    def __str__(self) -> str:
        width = max(len("what"), *(len(check.what) for check in self.checks))
        lines = [f"{'what':<{width}}  {'analytic':>14}  {'numeric':>14}  {'rel. error':>10}  ok"]
        for check in self.checks:
            numbers = [f"{'':>14}", f"{'':>14}", f"{'':>10}"]
            if check.analytic is not None:
                numbers = [
                    f"{check.analytic:>14.7g}", f"{check.numeric:>14.7g}", f"{check.error:>10.1e}"
                ]  # fmt: skip
            verdict = "yes" if check.ok else f"NO {check.detail}".rstrip()
            lines.append("  ".join([f"{check.what:<{width}}", *numbers, verdict]))
        return "\n".join(lines)
