"""Everything that must hold before a change lands, in lanes: one machine or library set each.

    python .ci/lanes.py             bare and full whole, of each other lane the part it is there
                                    for, and of newer Pythons the newest that is here
    python .ci/lanes.py all         every lane whole
    python .ci/lanes.py LANE ...    these lanes, as they are without `all`
    python .ci/lanes.py --list      the lanes, a line each

Standard library alone, since it makes the environments that all else is installed in. They lie in
`build/lanes/LANE`, and are made anew each time.
"""

import argparse
import functools
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "lanes"
WINDOWS = os.name == "nt"
PROGRAMS = "Scripts" if WINDOWS else "bin"
EXTRAS_OF_OLDEST = (
    "plot", "image", "torch", "jax", "sklearn", "tensorboard", "onnx", "strict", "test",
)  # fmt: skip
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
"""As tests/test_page_browser.py looks for them."""


class LaneError(Exception):
    """A command of a lane ended with another code than 0."""


class NotHereError(Exception):
    """What a lane needs is not on this machine."""


@dataclass
class Result:
    """What became of a lane."""

    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    outcome: str = "passed"
    seconds: float = 0.0


@dataclass(frozen=True)
class Lane:
    """One lane.

    Attributes
    ----------
    name, shows
        What it is called, and what it is there for.
    run
        Does it: `run(lane, result, whole)`.
    marker
        The tests that are its part, where it is not run whole.
    minutes
        How long its part may take on a quiet machine. What has not begun after three times that is
        skipped, and said.
    """

    name: str
    shows: str
    run: Callable[["Lane", Result, bool], None]
    marker: str = ""
    minutes: float = 0.0


# -- what lanes are made of ---------------------------------------------------------------------


def say(text: str) -> None:
    print(text, flush=True)


def call(*command: str | Path, cwd: Path = ROOT, **options: object) -> None:
    """Run a command; `LaneError` if it ends with another code than 0."""
    shown = " ".join(map(str, command))
    say(f"$ {shown}")
    done = subprocess.run(list(map(str, command)), cwd=cwd, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise LaneError(f"ended with {done.returncode}: {shown}")


def environment(folder: Path, *requirements: str | Path, python: str = sys.executable) -> Path:
    """A new virtual environment with these things installed: its Python."""
    shutil.rmtree(folder, ignore_errors=True)
    call(python, "-m", "venv", folder)
    inside = folder / PROGRAMS / "python"
    if requirements:
        call(inside, "-m", "pip", "install", "--quiet", "--no-compile", *requirements)
    return inside


def tree(folder: Path, *paths: str) -> Path:
    """A copy of what git has, or would have, of these paths: what a clone would hold."""
    shutil.rmtree(folder, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *paths],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def clean_environment(**changes: str) -> dict[str, str]:
    """The variables of the process without those that choose what is tested, and with these."""
    ours = ("XPNET_", "PYTHON", "VIRTUAL_ENV", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, **changes}


@contextmanager
def reported(lane: Lane, result: Result, whole: bool) -> Iterator[list[str]]:
    """Options for pytest that write a report; afterwards its numbers are in the result."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        Path(folder).chmod(0o777)  # one lane is another user's
        options = [f"--junitxml={report}", "--durations=20"]
        if not whole:
            budget = 3 * 60 * lane.minutes
            options += ["-m", lane.marker, f"--budget={budget:.0f}"]
            result.notes.append(f"the tests marked {lane.marker!r}; all of them by `.ci/run all`")
        try:
            yield options
        finally:
            if report.exists():
                _count(ET.parse(report).getroot(), result)


def _count(root: ET.Element, result: Result) -> None:
    for suite in root.iter("testsuite"):
        number = {key: int(suite.get(key, 0)) for key in ("tests", "skipped", "failures", "errors")}
        failed = number["failures"] + number["errors"]
        result.counts["failed"] += failed
        result.counts["skipped"] += number["skipped"]
        result.counts["passed"] += number["tests"] - failed - number["skipped"]
    late = sum("budget of time" in (s.get("message") or "") for s in root.iter("skipped"))
    if late:
        result.notes.append(f"{late} tests were left out, since its time was used up")


def readme_command(what: str) -> str:
    """A command of README's, as it is written there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^(python3 -m venv \.venv && .*{what}.*)$", text, flags=re.MULTILINE)
    if found is None:
        raise LaneError(f"README has no command with {what!r}")
    command = found[1]
    if WINDOWS:  # as README says
        command = command.replace(".venv/bin/", ".venv\\Scripts\\").replace("python3", "python")
        command = command.replace("'", '"')
    return command


def shell(command: str, cwd: Path, env: dict[str, str]) -> None:
    say(f"$ {command}")
    code = subprocess.run(command, shell=True, cwd=cwd, env=env, check=False).returncode
    if code:
        raise LaneError(f"ended with {code}: {command}")


# -- the lanes ----------------------------------------------------------------------------------


def bare(lane: Lane, result: Result, whole: bool) -> None:
    folder = tree(BUILD / "bare")
    with reported(lane, result, True) as options:
        # What README's readers do not write: where the numbers of tests are to be found.
        env = clean_environment(PYTEST_ADDOPTS=" ".join(options))
        shell(readme_command("pytest"), folder, env)


def full(lane: Lane, result: Result, whole: bool) -> None:
    # A CPU build of this version is what continuous integration has; a plain "torch" brings CUDA.
    python = environment(BUILD / "full", "torch==2.13.0", "--editable", ".[dev,jax]")
    check_newest(python)
    call(python, "-m", "ruff", "format", "--check", ".")
    call(python, "-m", "ruff", "check", ".")
    call(python, "-m", "mypy")
    call(python, "-m", "pytest", "-q", "tests/test_package.py")
    call(
        python, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html"
    )
    call(
        python, "-m", "pytest", "-q", "--doctest-glob=*.md", "--doctest-modules", "docs", "xpnet",
        "--ignore=docs/_build", "--ignore=docs/conf.py",
    )  # fmt: skip
    # No slower than twice what it was, over the matrix products alone.
    call(python, "scripts/benchmark.py", "quick")
    data = os.environ.get("XPNET_DATA_DIR", "")
    if not Path(data).is_dir():
        fetch = "import xpnet; xpnet.load_dataset('mnist')"
        call(python, "-c", fetch, env=clean_environment())
        where = "from xpnet.data.named import cache_folder; print(cache_folder())"
        data = subprocess.check_output([python, "-c", where], cwd=ROOT, text=True).strip()
    install_browser()
    required = "torch,jax,array_api_strict,mnist,browser,mpi"
    needed = {"XPNET_DATA_DIR": data, "XPNET_REQUIRE": required}
    with reported(lane, result, True) as options:
        call(python, "-m", "pytest", "-q", "-n", "auto", *options, env=clean_environment(**needed))


def install_browser() -> None:
    """A Chromium for the tests of the page: Debian's, where there is none and it can be had."""
    if any(map(shutil.which, BROWSERS)):
        return
    if WINDOWS or shutil.which("apt-get") is None or os.geteuid() != 0:
        raise LaneError(f"the tests of the page need a browser: one of {', '.join(BROWSERS)}")
    call("apt-get", "update", "--quiet")
    call(
        "apt-get", "install", "--yes", "--quiet", "--no-install-recommends",
        "chromium", "fonts-dejavu-core",
    )  # fmt: skip


def check_newest(python: Path) -> None:
    """Check that the versions right below the upper bounds are those that are tested here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    listed = [requirement for group in groups for requirement in group]
    bounded = {found for text in listed for found in re.findall(r"^([\w.-]+).*,<([\d.]+)$", text)}
    for name, bound in sorted(bounded):
        code = f"from importlib.metadata import version; print(version({name!r}))"
        version = subprocess.check_output([python, "-c", code], text=True).strip()
        major, minor = map(int, bound.split("."))
        if not version.startswith(f"{major}.{minor - 1}."):
            raise LaneError(
                f"pyproject.toml allows {name}<{bound}, and what is tested is {version}: lower the "
                f"bound to what there is, or find out why it was not installed"
            )


def oldest(lane: Lane, result: Result, whole: bool) -> None:
    python = find_python("3.11")
    if python is None:
        raise NotHereError("there is no Python 3.11, the oldest that xpnet runs on")
    check_oldest()
    # The oldest torch is a download of 3 GB, and takes as long as all else.
    extras = "test,jax,torch" if whole else "test,jax"
    if not whole:
        result.notes.append("without torch, which `.ci/run all` installs")
    constraint = ROOT / ".ci" / "oldest.txt"
    inside = environment(
        BUILD / "oldest", "--constraint", constraint, "--editable", f".[{extras}]", python=python
    )
    with reported(lane, result, whole) as options:
        call(inside, "-m", "pytest", "-q", "-n", "auto", *options, env=clean_environment())


def check_oldest() -> None:
    """Check that the constraints are the lower bounds of what is installed with them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = {}
    for extra in ("", *EXTRAS_OF_OLDEST):
        listed = project["optional-dependencies"][extra] if extra else project["dependencies"]
        for requirement in listed:
            name, sign, bound = requirement.partition(">=")
            if sign:
                bounds[name.lower()] = bound.partition(",")[0]
    text = (ROOT / ".ci" / "oldest.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([\w.-]+)==([\w.]+)$", text.lower(), flags=re.MULTILINE))
    wrong = [
        f"{name}>={bound}" for name, bound in bounds.items()
        if re.sub(r"(\.0)+$", "", pins.get(name, "")) != re.sub(r"(\.0)+$", "", bound)
    ]  # fmt: skip
    if wrong:
        raise LaneError(f".ci/oldest.txt has no such pin as pyproject.toml's {', '.join(wrong)}")


def wheel(lane: Lane, result: Result, whole: bool) -> None:
    made = BUILD / "wheel"
    shutil.rmtree(made, ignore_errors=True)
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", made, ".")
    (built,) = made.glob("*.whl")
    user, python = ordinary_user()
    with tempfile.TemporaryDirectory(prefix="xpnet-lane-") as base:
        # The tests, what they run, and how pytest is set; not the package.
        folder = tree(Path(base) / "a päth", "tests", "scripts", "pyproject.toml")
        inside = environment(folder / ".venv", python=python)
        shutil.copy(built, folder)
        call(inside, "-m", "pip", "install", "--quiet", f"{folder / built.name}[test]")
        home = folder / "home"
        home.mkdir()
        if user:
            call("chown", "-R", f"{user}:", base)
        env = clean_environment(LC_ALL="C", HOME=str(home), TMPDIR=str(home))
        with reported(lane, result, whole) as options:
            call(
                inside, "-m", "pytest", "-q", "-n", "auto", *options, cwd=folder, env=env,
                **({"user": user, "group": user_group(user), "extra_groups": []} if user else {}),
            )  # fmt: skip


def ordinary_user() -> tuple[str | None, str]:
    """Who is to run the tests, where that is root else, and a Python that he may start."""
    if WINDOWS or os.geteuid() != 0:
        return None, sys.executable
    user = "nobody"
    for python in dict.fromkeys([sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"]):
        try:
            probe = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
            code = subprocess.run(
                [python, "-c", probe], user=user, group=user_group(user), extra_groups=[],
                cwd="/", env={"PATH": os.defpath}, capture_output=True, check=False,
            ).returncode  # fmt: skip
        except OSError:
            continue
        if code == 0:
            return user, python
    raise NotHereError(
        "this is root, and there is no Python of 3.11 or newer that `nobody` may start"
    )


def user_group(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


@functools.cache
def plain() -> Path:
    """What README's command for the tests installs, for all lanes that need no more."""
    return environment(BUILD / "plain", "--editable", ".[test]")


def no_compiler(lane: Lane, result: Result, whole: bool) -> None:
    if WINDOWS:
        raise NotHereError("nothing is compiled on Windows, so every lane there is without")
    python = plain()
    env = clean_environment(PATH=str(python.parent))
    if shutil.which("cc", path=env["PATH"]) or shutil.which("sleep", path=env["PATH"]):
        raise LaneError(f"there is more than Python in {python.parent}")
    with reported(lane, result, whole) as options:
        call(python, "-m", "pytest", "-q", "-n", "auto", *options, env=env)


def other_kernels(lane: Lane, result: Result, whole: bool) -> None:
    kernel = older_kernel()
    result.notes.append(f"OPENBLAS_CORETYPE={kernel}")
    python = plain()
    env = clean_environment(OPENBLAS_CORETYPE=kernel)
    with reported(lane, result, whole) as options:
        call(python, "-m", "pytest", "-q", "-n", "auto", *options, env=env)


def older_kernel() -> str:
    """OpenBLAS' name of processors one generation older than this one."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        flags = ""
    if platform.machine() != "x86_64" or not flags:
        raise NotHereError("other kernels are known for x86-64 with Linux alone")
    if "avx512f" in flags:
        return "Haswell"
    if "avx2" in flags:
        return "Sandybridge"
    raise NotHereError("the processor has neither AVX-512 nor AVX2, and there are no older kernels")


def newer_python(lane: Lane, result: Result, whole: bool) -> None:
    version = version_of(lane)
    found = find_python(version)
    if found is None:
        raise NotHereError(f"there is no python{version} on PATH or among pyenv's versions")
    python = environment(BUILD / lane.name, "--editable", ".[test]", python=found)
    with reported(lane, result, whole) as options:
        call(python, "-m", "pytest", "-q", "-n", "auto", *options, env=clean_environment())


def version_of(lane: Lane) -> str:
    return lane.name.removeprefix("python")


@functools.cache
def find_python(version: str) -> str | None:
    """A Python of this version that starts: this one, on PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [sys.executable, shutil.which(f"python{version}")]
    candidates += sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))
    probe = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for python in filter(None, candidates):
        done = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return python
    return None


LANES = [
    Lane("bare", "README's test command, and nothing but what it installs", bare),
    Lane(
        "full", "format, types, docs, speed; with torch, JAX, MPI, MNIST, a browser required", full
    ),
    Lane("oldest", "every lower bound of pyproject.toml at once", oldest, "libraries", 3),
    Lane("wheel", "the installed wheel, an ordinary user, an odd path", wheel, "installed", 2),
    Lane("no-compiler", "an empty PATH but for Python", no_compiler, "compiler", 2),
    Lane("other-kernels", "the kernels of an older processor", other_kernels, "numerics", 2),
    *(
        Lane(f"python{version}", "a newer Python", newer_python, "installed", 2)
        for version in ("3.12", "3.13", "3.14")
    ),
]


# -- all of them --------------------------------------------------------------------------------


def run(lane: Lane, whole: bool) -> Result:
    say(f"\n== {lane.name}: {lane.shows}")
    result, started = Result(), time.monotonic()
    try:
        lane.run(lane, result, whole)
    except NotHereError as reason:
        result.outcome, result.notes = "skipped", [str(reason)]
    except LaneError as error:
        result.outcome = "FAILED"
        result.notes.append(str(error))
    result.seconds = time.monotonic() - started
    return result


def older_than_newest() -> list[str]:
    """The lanes of newer Pythons that are here, but for the newest of them."""
    pythons = [lane for lane in LANES if lane.run is newer_python and find_python(version_of(lane))]
    return [lane.name for lane in pythons[:-1]]


def closing_lines(results: dict[str, Result]) -> list[str]:
    lines = ["", f"{'lane':14}{'outcome':10}{'passed':>8}{'skipped':>9}{'failed':>8}{'time':>8}"]
    for name, result in results.items():
        minutes, seconds = divmod(round(result.seconds), 60)
        counts = [result.counts[kind] for kind in ("passed", "skipped", "failed")]
        lines.append(
            f"{name:14}{result.outcome:10}{counts[0]:8}{counts[1]:9}{counts[2]:8}"
            f"{minutes:5}:{seconds:02}"
        )
        lines += [f"    {note}" for note in result.notes]
    total: Counter[str] = sum((result.counts for result in results.values()), Counter())
    lines.append("")
    lines.append(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lanes", nargs="*", help="`all`, or names of lanes")
    parser.add_argument("--list", action="store_true", help="the lanes, a line each")
    parser.add_argument("--whole", action="store_true", help="all tests of the lanes named")
    given = parser.parse_args()
    if given.list:
        say("\n".join(f"{lane.name:14}{lane.shows}" for lane in LANES))
        return 0
    whole = given.whole or given.lanes == ["all"]
    names = [] if given.lanes == ["all"] else given.lanes
    unknown = set(names) - {lane.name for lane in LANES}
    if unknown:
        parser.error(f"no lane {', '.join(sorted(unknown))}; there are: all, "
                     f"{', '.join(lane.name for lane in LANES)}")  # fmt: skip
    passed_over = [] if names or whole else older_than_newest()
    lanes = [x for x in LANES if x.name not in passed_over and (not names or x.name in names)]
    results = {lane.name: run(lane, whole) for lane in lanes}
    say("\n".join(closing_lines(results)))
    return int(any(result.outcome == "FAILED" for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
