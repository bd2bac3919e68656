"""The machine's C compiler, where there is one."""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

FLAGS = (
    "-O3", "-fPIC", "-shared", "-w", "-fno-fast-math", "-ffp-contract=off", "-fno-math-errno",
    "-fwrapv", "-fno-strict-aliasing",
)  # fmt: skip
"""Nothing that lets a result be another than IEEE 754 says, or than NumPy gives for integers.

Some compilers have fast arithmetic unless told otherwise. Memory that is seen as numbers of two
dtypes, as by `view`, is written and read in the order of the calls.
"""

FASTER = ("-march=native", "-fno-trapping-math")
"""Left out where the compiler knows them not."""

TIMEOUT = 30
"""Seconds that a compiler may take. (Six were the most, for a network of thirty layers.)"""


class CannotCompile(Exception):  # noqa: N818 - not an error: NumPy does the work
    """There is no C compiler, or it fails; the message says which."""


def find_compiler() -> list[str]:
    """The command of the C compiler: what the variable `XPNET_CC` says, or `CC`, or `cc`.

    Raises
    ------
    CannotCompile
        If there is none, or `XPNET_CC` is empty, which says that none shall be used.
    """
    import shutil

    chosen = os.environ.get("XPNET_CC")
    if chosen is not None and not chosen.strip():
        raise CannotCompile("XPNET_CC is empty: no compiler is to be used")
    for text in (chosen, os.environ.get("CC"), "cc", "gcc", "clang"):
        command = _words(text or "")
        if command and shutil.which(command[0]):
            return command
        if chosen is not None:
            raise CannotCompile(f"XPNET_CC is {chosen!r}, which cannot be run")
    raise CannotCompile("there is no C compiler (cc, gcc or clang)")


def _words(text: str) -> list[str]:
    """A command and its arguments; a path may have spaces."""
    import shlex
    import shutil

    if shutil.which(text):
        return [text]
    try:
        return shlex.split(text)
    except ValueError:  # a quotation without end
        return []


LIBRARIES: dict[str, ctypes.CDLL] = {}
"""What has been compiled, by its source; it stays loaded as long as the process lives."""

FAILURES: dict[str, str] = {}
"""What went wrong, by the compiler's command: one that hangs should do so once."""


def compiled(source: str) -> ctypes.CDLL:
    """A library made of C source, once for each source.

    Raises
    ------
    CannotCompile
        If there is no compiler, it fails or has failed before, or the library cannot be loaded.
    """
    if source in LIBRARIES:
        return LIBRARIES[source]
    # Imported late: `import xpnet` shall be fast, and most trainings are too short to compile.
    import shlex
    import tempfile
    from subprocess import SubprocessError

    command = find_compiler()
    name = shlex.join(command)
    if name not in FAILURES:
        try:
            # (Some systems do not remove a library that is loaded.)
            with tempfile.TemporaryDirectory(prefix="xpnet-", ignore_cleanup_errors=True) as folder:
                library = Path(folder) / "step.so"
                for flags in ((*FLAGS, *FASTER), FLAGS):
                    code, said = _run([*command, *flags], source, library)
                    if code == 0:
                        return LIBRARIES.setdefault(source, ctypes.CDLL(str(library)))
                first = (said.strip().splitlines() or ["it says nothing"])[0]
                FAILURES[name] = f"{name} exits with {code}: {first}"
        except (OSError, SubprocessError) as error:
            FAILURES[name] = f"{name}: {type(error).__name__}: {error}"
    raise CannotCompile(FAILURES[name])


def _run(command: list[str], source: str, library: Path) -> tuple[int, str]:
    """Run a compiler; its exit code, and what it says."""
    import subprocess

    with subprocess.Popen(
        [*command, "-x", "c", "-", "-o", str(library), "-lm"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, errors="replace",
        env={**os.environ, "TMPDIR": str(library.parent)},  # where it leaves files if it is stopped
        start_new_session=True,  # or Ctrl-C would be the compiler's as well
    ) as process:  # fmt: skip
        try:
            _, said = process.communicate(source, timeout=TIMEOUT)
        except BaseException:
            # What it has started, which does the work, would go on.
            with suppress(AttributeError, ProcessLookupError):  # as there are no groups on Windows
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            raise
    return process.returncode, said
