"""How training steps are taken: called, recorded or compiled."""

from collections.abc import Callable
from dataclasses import dataclass

from xpnet.errors import counted
from xpnet.typing import Array, State

COMPILED, RECORDED, CALLED = "compiled", "recorded", "called"

STEPS = (COMPILED, RECORDED, CALLED)
"""The ways to take a step, from the fastest to that which is as the code is written.

`"called"`: what the step calls is called anew in each step. `"recorded"`: it is recorded in one
step, and replayed in those that follow. `"compiled"`: it is made a program of the machine. Each may
begin as the next one.
"""


@dataclass
class StepCounts:
    """How many training steps were taken in which way.

    Attributes
    ----------
    compiled, recorded, called
        How many, of those that were taken by `Backend.repeat`.
    compiler
        What has compiled them: a command, and its version.
    reason
        Why some are not recorded, or not compiled, though that was chosen; empty if there is none.
    """

    compiled: int = 0
    recorded: int = 0
    called: int = 0
    compiler: str = ""
    reason: str = ""

    def counting(self, run: Callable[..., State]) -> Callable[..., State]:
        """`run` of `Backend.repeat`, which calls all steps, as one that counts them."""

        def counted(state: State, x: Array, y: Array, groups: Array) -> State:
            after = run(state, x, y, groups)
            self.called += groups.shape[0]
            return after

        return counted

    def __str__(self) -> str:
        by = f" by {self.compiler}" if self.compiler else ""
        numbers = {
            COMPILED + by: self.compiled, RECORDED: self.recorded, CALLED: self.called,
        }  # fmt: skip
        taken = {how: number for how, number in numbers.items() if number}
        if not taken:
            return "no steps"
        words = [f"{number:,} {how}" for how, number in taken.items()]
        how, first = next(iter(taken.items()))
        words[0] = f"{counted(first, 'step')} {how}"
        return ", ".join(words) + (f" ({self.reason})" if self.reason else "")
