"""What the pages say of the code, held against it: files, options, outputs, numbers of checks."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from conftest import page
from test_package import LEVELS

from xpnet.cli import main
from xpnet.conformance import check_namespace

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]
NUMBER = re.compile(r"\d+\.\d+|\d[\d,]*")


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_the_files_that_a_page_names_are_there(name):
    text = page(name)
    named = set(re.findall(r"(?<![\w/.-])(?:xpnet|tests|scripts|docs)/[\w./-]*\w/?", text))
    links = {
        target.partition("#")[0]
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
        if not re.match(r"https?:|#", target)
    }
    folder = (ROOT / name).parent
    lost = [path for path in named if not (ROOT / path).exists() and "_build" not in path]
    lost += [link for link in links if not (folder / link).exists()]
    assert sorted(lost) == []


def layout():
    """The lines of the tree in design.md: the folder that each is in, the names that it begins with
    and says, and the line. Folders are told by their indentation."""
    block = re.search(r"```text\n(xpnet/\n.*?)```", page("docs/design.md"), re.DOTALL)[1]
    above = []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        first, *others = re.findall(r"\w+(?:\.py\b|/)", line) or [""]
        yield ROOT.joinpath(*above[:depth]), first, others, line
        if first.endswith("/"):
            above[depth:] = [first]


def test_the_layout_has_the_files_that_there_are():
    lost = []
    for folder, first, others, line in layout():
        # What follows is beside the first, or in the folder that it is.
        for name, places in [(first, [folder]), *((o, [folder, folder / first]) for o in others)]:
            lost += [] if any((place / name).exists() for place in places) else [line]
    assert lost == []


def test_every_module_is_in_the_layout():
    """By its name, or in a folder whose line stands for all that is in it."""
    named, lines, opened = set(), {}, set()
    for folder, first, others, line in layout():
        named |= {place / name for name in (first, *others) for place in (folder, folder / first)}
        lines[folder / first] = line
        opened.add(folder)
    package = ROOT / "xpnet"
    missing = [
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py") and path not in named
        # A folder that is not opened, or has a file each of its parts, stands for these.
        and not (path.parent in lines.keys() - opened or " each" in lines.get(path.parent, ""))
    ]  # fmt: skip
    assert sorted(missing) == []
    assert len(opened) > 10


def test_the_directions_of_imports_are_those_that_are_tested():
    block = re.search(r"```text\n(errors, .*?)```", page("docs/design.md"), re.DOTALL)[1]
    said = [set(re.findall(r"\w+", level)) for level in block.split("<-")]
    assert said == LEVELS[:-1]


def test_the_way_from_fit_to_the_update_is_the_same_on_both_pages_and_short():
    """At most eight files are opened on it."""
    ways = [
        re.findall(r"^\d\. `(xpnet/[\w/]+\.py)`", page(name), re.MULTILINE)
        for name in ("docs/design.md", "docs/step.md")
    ]
    assert ways[0] == ways[1]
    assert ways[0][0] == "xpnet/training/fit.py"
    assert ways[0][-1] == "xpnet/optimizers/sgd.py"
    assert len(ways[0]) <= 8
    assert re.search(r"parameter -= rate \* gradient\n", page(ways[0][-1]))


# -- commands -------------------------------------------------------------------------------------


def examples(text):
    """The commands of a page's blocks that train on the digits, each with what it prints."""
    for block in re.findall(r"^```text\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        joined = block.replace("\\\n", " ")
        for part in re.split(r"^\$ xpnet ", joined, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            if "mnist" not in command:
                yield shlex.split(command), output.strip()


def assert_says(found, expected):
    """The same words and counts; times as they come, and figures as another processor has them.

    How steps are taken depends on the compiler that is there, and on the time that they take.
    """
    time, steps = r"\d+\.\d+ s\b", r"(?m)(, steps [^\n]*|^taken: [^\n]*)$"
    assert len(re.findall(steps, found)) == len(re.findall(steps, expected))
    found, expected = (re.sub(steps, "", text) for text in (found, expected))
    found = found.replace("runs\\", "runs/")  # as Windows has it
    found, expected = (re.sub(time, "TIME", text).strip() for text in (found, expected))
    shapes = (re.sub(r" +", " ", NUMBER.sub("N", text)) for text in (found, expected))
    assert next(shapes) == next(shapes), f"{found}\n-- is not what the page says:\n{expected}"
    for a, b in zip(NUMBER.finditer(found), NUMBER.finditer(expected), strict=True):
        x, y = (float(match[0].replace(",", "")) for match in (a, b))
        unit = expected[b.end() :].partition(" ")[2]
        roughly = "." in b[0] or unit.startswith("bytes")
        allowed = 2 if unit.startswith("errors") else 0.01 * y if roughly else 0
        assert abs(x - y) <= allowed, f"{found}\n-- {a[0]}, where the page says {b[0]}:\n{expected}"


def test_the_commands_print_what_the_pages_say(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XPNET_DATA_DIR", raising=False)
    # The pictures take longer than all else, and print nothing.
    monkeypatch.setattr("xpnet.cli.training.draw_pictures", lambda *arguments: True)
    seen = []
    for arguments, expected in examples(page("docs/command-line.md")):
        if expected:
            result = CliRunner().invoke(main, arguments, prog_name="xpnet")
            assert_says(result.output if result.exit_code else result.stdout, expected)
            seen.append((arguments[0], expected))
    assert {name for name, _ in seen} >= {"train", "evaluate", "export"}
    for arguments, expected in examples(page("docs/export.md")):
        assert (arguments[0], expected) in seen


@pytest.mark.parametrize("name", PAGES)
def test_the_options_of_the_commands_on_a_page_are_known(name):
    blocks = re.findall(r"^```(?:sh|text)\n(.*?)^```", page(name), flags=re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    for line in lines:
        found = re.match(r"(?:\$ )?xpnet ([a-z]+)(.*)", line)
        if found:
            command = main.get_command(click.Context(main), found[1])
            assert command is not None, line
            known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
            assert set(re.findall(r"(?<=\s)--[\w-]+", found[2].partition(" #")[0])) <= known, line


# -- numbers of checks ----------------------------------------------------------------------------


def test_the_reports_of_conformance_have_the_checks_that_there_are():
    """Libraries that the tests do not install are shown there; what is asked of them is known."""
    text, report = page("docs/parity.md"), check_namespace("numpy")
    totals = re.findall(r"^(\w+) +\d+ of +(\d+) ok", text, flags=re.MULTILINE)
    assert totals
    where = "docs/parity.md: the reports there have another number of checks than there are now"
    for group, count in totals:
        assert int(count) == len(report.group(group)), f"{where}, of {group}"
    for total in re.findall(r"\d+ of (\d+) checks failed", text):
        assert int(total) == len(report.findings), where
    names = {finding.what for finding in report.findings}
    found = re.findall(r"^  (?:missing|error|wrong) +(.*)$", text, flags=re.MULTILINE)
    assert found
    assert [what for what in found if what not in names] == []
