"""Every public name is on the page of its kind, and in the API reference."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest
from conftest import page

import xpnet
from xpnet import metrics
from xpnet.augment import AUGMENTATIONS
from xpnet.backends import BACKENDS
from xpnet.cli import COMMANDS
from xpnet.data import DATASETS
from xpnet.initializers import FAMILIES, INITIALIZERS
from xpnet.layers import CONSTRAINTS, LAYERS
from xpnet.losses import LOSSES
from xpnet.optimizers import OPTIMIZERS
from xpnet.schedules import SCHEDULES

PACKAGE = Path(xpnet.__file__).parent
COMMAND_LINE = {"cli"}
"""It has commands and no functions; its page is command-line.md."""

ONE_FILE = {"errors", "initializers", "parity", "plots", "random"}
"""The public modules that are no packages."""

MODULES = [
    "xpnet",
    *sorted(
        f"xpnet.{name}"
        for name in ONE_FILE | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
        if name not in COMMAND_LINE
    ),
]


def public_names(name):
    """What a module gives: `__all__`, or else what a package imports under its own name, and what
    is made in the file itself. It is read and not imported, since some need other libraries."""
    if name == "xpnet":
        return set(xpnet.__all__)
    path = PACKAGE.parent.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names if alias.asname == alias.name}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            made = {target.id for target in targets if isinstance(target, ast.Name)}
            if made == {"__all__"}:
                return set(ast.literal_eval(node.value))
            names |= made
    return {name for name in names if not name.startswith("_")}


def reference():
    """The names in api.md: those of its directives, of the modules that it has in full, and those
    that its sentences say."""
    text = page("docs/api.md")
    named = set(re.findall(r"^\.\. (?:auto\w+|data):: ([\w.]+)$", text, re.MULTILINE))
    for listed in re.findall(r":members: ((?:[\w, ]|\n {6})+)", text):
        named |= set(re.findall(r"\w+", listed))
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    named |= set(re.findall(r"`([\w.]+)`", prose))
    for whole in re.findall(r"automodule:: ([\w.]+)\n   :members:\n", text):
        module = importlib.import_module(whole)
        # Sphinx leaves out what has no docstring.
        named |= {n for n in public_names(whole) if inspect.getdoc(getattr(module, n))}
    return {name.rpartition(".")[2] for name in named}


@pytest.mark.parametrize("name", MODULES)
def test_the_reference_has_every_public_name(name):
    missing = public_names(name) - reference()
    assert sorted(missing) == [], "docs/api.md does not name these"


def named_in_tables(text):
    """What is in the first cells of the tables of a page, calls without their arguments."""
    cells = re.findall(r"^\| (`[^|]*?) +\|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([\w-]+)", cell)}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("layers", {*LAYERS, *FAMILIES}),
        ("optimizers", {kind.__name__ for kind in (*OPTIMIZERS.values(), *SCHEDULES.values())}),
        ("losses-and-metrics", set(metrics.__all__) - {"Scores"}),
        ("backends", set(BACKENDS)),
        ("data", set(DATASETS)),
        ("augmentation", {kind.__name__ for kind in AUGMENTATIONS.values()}),
        ("training", public_names("xpnet.callbacks") - {"Callback"}),
    ],
)
def test_the_tables_of_a_page_have_every_part_of_its_kind(name, wanted):
    missing = wanted - named_in_tables(page(f"docs/{name}.md"))
    assert sorted(missing) == [], f"no table of docs/{name}.md names these"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("layers", {*CONSTRAINTS, *INITIALIZERS, *FAMILIES}),
        ("losses-and-metrics", {*LOSSES, *(kind.__name__ for kind in LOSSES.values())}),
        ("losses-and-metrics", set(metrics.__all__)),
        ("augmentation", set(AUGMENTATIONS)),
        ("command-line", set(COMMANDS)),
    ],
)
def test_the_sentences_of_a_page_have_every_part_of_its_kind(name, wanted):
    said = set(re.findall(r"\w+", " ".join(re.findall(r"`+[^`]+`+", page(f"docs/{name}.md")))))
    assert sorted(wanted - said) == [], f"docs/{name}.md does not name these"


def test_parts_are_public():
    classes = [*LAYERS.values(), *OPTIMIZERS.values(), *LOSSES.values()]
    parts = {*(kind.__name__ for kind in classes), *LOSSES, *public_names("xpnet.callbacks")}
    assert parts - set(xpnet.__all__) == set()
