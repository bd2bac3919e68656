"""The package as a whole: what imports what, and what it weighs."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import xpnet
from xpnet.backends import BACKENDS, backend_class

pytestmark = pytest.mark.installed

PACKAGE = Path(xpnet.__file__).parent
ARRAY_LIBRARIES = {
    (backend_class(n).namespace or n).removeprefix("array_api_compat.").partition(".")[0]
    for n in BACKENDS
} | {"dask"}

LEVELS = [
    {"errors", "streams", "suggestions", "typing"},
    {"checks", "descriptions", "drawing", "files"},
    {"windows"},
    {"backends", "fields", "history", "random", "operations"},
    {"distributed", "initializers", "data", "saving", "schedules"},
    {"layers"},
    {"losses", "optimizers", "models"},
    {"augment"},
    {"dtype_limits", "metrics", "purity"},
    {"inputs"},
    {"network"},
    {"callbacks"},
    {"training"},
    {
        "augmented",
        "conformance",
        "export",
        "figures",
        "filters",
        "page",
        "parity",
        "runs",
        "testing",
    },
    {"plots", "sheets"},
    {"cli", "sklearn"},
    {"__init__", "__main__"},
]
"""Imports go from a later level to an earlier one, or stay inside a unit."""


def imports(path, *, everywhere=False):
    """The modules that a file imports: at its top, or also inside its functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            if node.module == "xpnet":
                yield from (f"xpnet.{alias.name}" for alias in node.names)


def unit(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))
each_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))


def test_every_unit_has_a_level():
    assert {unit(path) for path in FILES} == set.union(*LEVELS)


@each_file
def test_imports_point_one_way(path):
    level = {name: i for i, names in enumerate(LEVELS) for name in names}
    mine = unit(path)
    for module in imports(path, everywhere=True):
        parts = module.split(".")
        if parts[0] == "xpnet" and len(parts) > 1 and parts[1] in level and parts[1] != mine:
            assert level[parts[1]] < level[mine], f"{mine} imports {module}"


def test_no_two_modules_need_each_other():
    """Neither at the top nor inside of functions: what is in a circle cannot be read by itself."""
    names = {
        ".".join(("xpnet", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for path in FILES
    }
    needs = {name: set(used_modules(path, names)) - {name} for name, path in names.items()}
    while free := {name for name, used in needs.items() if not used & needs.keys()}:
        needs = {name: used for name, used in needs.items() if name not in free}
    assert not needs, f"among these is a circle: {sorted(needs)}"


def used_modules(path, names):
    """The modules of xpnet that a file imports, of `from package import module` the module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in names else node.module


@each_file
def test_array_libraries_are_named_in_backends_only(path):
    """Layers, losses, optimizers and metrics know no array library; only backends know them all."""
    used = {module.split(".")[0] for module in imports(path, everywhere=True)} & ARRAY_LIBRARIES
    if unit(path) == "backends":
        allowed = ARRAY_LIBRARIES
    elif unit(path) in {"layers", "losses", "operations", "optimizers", "metrics", "models"}:
        allowed = set()
    else:
        allowed = {"numpy"}  # the host: files, random numbers, pictures, the reference
    assert used <= allowed


@pytest.mark.parametrize(
    "path",
    [
        p
        for p in FILES
        if unit(p) in {"layers", "losses", "operations", "optimizers", "metrics", "models"}
    ],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_array_code_multiplies_by_name(path):
    """A backend can replace `xp.matmul`, but not `@`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [n.lineno for n in ast.walk(tree) if isinstance(n, ast.MatMult)]


def test_scikit_learn_is_imported_by_its_estimators_alone_and_scipy_for_pictures():
    for path in FILES:
        if unit(path) != "sklearn":
            used = {module.split(".")[0] for module in imports(path, everywhere=True)}
            assert "sklearn" not in used, path
            assert "scipy" not in used or unit(path) == "data", path


@each_file
def test_nothing_of_the_process_is_changed_that_other_threads_see(path):
    """Until Python 3.14 warnings are switched off for all threads, and perhaps for ever; a umask is
    the process's, as is its current folder.
    """
    refused = {"catch_warnings", "simplefilter", "filterwarnings", "umask", "chdir"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not used & refused


def test_backends_import_nothing_that_uses_them():
    for path in (PACKAGE / "backends").rglob("*.py"):
        units = {m.split(".")[1] for m in imports(path, everywhere=True) if m.startswith("xpnet.")}
        assert units <= {
            "backends",
            "checks",
            "errors",
            "streams",
            "suggestions",
            "typing",
            "windows",
        }


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    ).stdout


def test_import_is_light():
    heavy = "torch jax cupy matplotlib sklearn pooch scipy array_api_strict PIL click tqdm pandas"
    loaded = run_python("import sys, xpnet; print(*sorted({m.split('.')[0] for m in sys.modules}))")
    assert not set(heavy.split()) & set(loaded.split())


def test_names_are_loaded_when_they_are_used():
    """`import xpnet` loads less than NumPy does; afterwards everything is there."""
    before, after = run_python(
        "import sys, xpnet; print(*sys.modules); xpnet.fit; print(*sys.modules)"
    ).splitlines()
    assert "numpy" not in before.split()
    assert "xpnet.network" not in before.split()
    assert {"numpy", "xpnet.training.fit"} <= set(after.split())


def test_the_names_for_type_checkers_are_those_that_are_loaded():
    """The list is read without a parser of Python: it has a line for each name, and no other."""
    first, *lines = (PACKAGE / "__init__.pyi").read_text(encoding="utf-8").splitlines()
    assert first.startswith("#")
    assert lines[-2:] == ["", "__version__: str"]
    found = {}
    for line in lines[:-2]:
        (node,) = ast.parse(line).body
        (alias,) = node.names
        assert alias.name == alias.asname  # what makes it a name of this module for others
        found[alias.name] = node.module
    assert len(found) == len(lines) - 2
    assert found == xpnet._HOMES
    for name, module in found.items():
        home = importlib.import_module(module)
        assert getattr(xpnet, name) is getattr(home, name)


def test_a_star_brings_the_public_names():
    names = run_python("from xpnet import *; print(*dir())").split()
    assert set(xpnet.__all__) <= set(names)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'xpnet' has no attribute 'fitt'"):
        _ = xpnet.fitt
    for name in ("__wrapped__", "__main__", "training.fit", "a.b", "_private"):
        assert not hasattr(xpnet, name)
    assert set(xpnet.__all__) <= set(dir(xpnet))
    assert len(dir(xpnet)) == len(set(dir(xpnet)))


def test_a_module_that_fails_to_import_says_why():
    """What is missing is not the name of xpnet's that was asked for."""
    code = """
        import sys; sys.modules['click'] = None
        import xpnet
        try: xpnet.cli
        except ModuleNotFoundError as error: print(error.name)
    """
    assert run_python("\n".join(line.strip() for line in code.splitlines())) == "click\n"


def test_cli_import_is_light():
    loaded = run_python("import sys, xpnet.cli; print(*sorted(sys.modules))")
    assert not {"torch", "jax", "cupy", "matplotlib", "pooch", "PIL"} & set(loaded.split())


def test_the_list_of_commands_is_right_and_loads_none():
    """The names and lines of `xpnet --help` are written beside the commands, which load NumPy."""
    from xpnet.cli import COMMANDS, main

    run = "try: main(['--help'])\nfinally: print(*sys.modules)"
    code = f"import sys; from xpnet.cli import main\n{run}"
    *shown, loaded = run_python(code).splitlines()
    assert not {"numpy", "xpnet.cli.training", "xpnet.training"} & set(loaded.split())
    for name, (_, line) in COMMANDS.items():
        assert main.get_command(None, name).name == name
        assert any(row.split(maxsplit=1) == [name, line] for row in shown)
    assert main.get_command(None, "trian") is None


def test_public_names_exist():
    for name in xpnet.__all__:
        assert getattr(xpnet, name) is not None
    assert sorted(xpnet.__all__) == sorted(set(xpnet.__all__))


def test_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert xpnet.__version__ == version("xpnet")


def test_public_things_have_docstrings():
    for name in xpnet.__all__:
        assert (getattr(xpnet, name).__doc__ or "").strip(), name


@each_file
def test_files_stay_small(path):
    """A file is as long as its idea; in one that is longer than this there are two."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


def test_typed_marker_is_shipped():
    assert (PACKAGE / "py.typed").is_file()
