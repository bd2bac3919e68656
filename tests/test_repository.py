"""What is around the package: its version in one place, README on a package index, the forms."""

import re
import sys
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest
from conftest import page

import xpnet


@pytest.fixture
def with_addresses(monkeypatch):
    """The function of the hook, whose class is hatchling's, which is there for builds alone."""
    page(".ci/readme.py")
    for name in ("hatchling", "hatchling.metadata", "hatchling.metadata.plugin"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    interface = ModuleType("interface")
    interface.MetadataHookInterface = object
    monkeypatch.setitem(sys.modules, "hatchling.metadata.plugin.interface", interface)
    path = Path(__file__).parent.parent / ".ci" / "readme.py"
    spec = util.spec_from_file_location("readme_of_index", path)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.with_addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](docs/a.md)", "[a](R/blob/v1/docs/a.md)"),
        ("[a](docs/a.md#part) [b](b)", "[a](R/blob/v1/docs/a.md#part) [b](R/blob/v1/b)"),
        ("![a](a.png)", "![a](R/raw/v1/a.png)"),
        ("[![a\nb](a.png)](a.md)", "[![a\nb](R/raw/v1/a.png)](R/blob/v1/a.md)"),
        ("[a](https://b.org/c) [d](#e)", "[a](https://b.org/c) [d](#e)"),
        ("`pip install '.[a]'` [b](c)", "`pip install '.[a]'` [b](R/blob/v1/c)"),
        ("f(x)] [a](b)", "f(x)] [a](R/blob/v1/b)"),
    ],
)  # fmt: skip
def test_links_of_a_text_lead_to_the_repository(with_addresses, text, expected):
    assert with_addresses(text, "R/", "v1") == expected


def test_no_link_of_readme_is_left_without_address(with_addresses):
    text = page("README.md")
    paths = [p for p in re.findall(r"\]\(([^)\s]+)\)", text) if ":" not in p and p[0] != "#"]
    assert len(paths) > 20
    for path in paths:
        assert page(path.partition("#")[0]) if not path.endswith(".png") else True
    changed = with_addresses(text, "https://example.org/x", "v1")
    assert not [
        p for p in re.findall(r"\]\(([^)\s]+)\)", changed) if not p.startswith(("http", "#"))
    ]
    assert changed.count("https://example.org/x/raw/v1/docs/images/") == text.count("(docs/images/")


def test_the_version_is_the_same_everywhere():
    assert re.search(r"^dynamic = \[.*\"version\"", page("pyproject.toml"), re.MULTILINE)
    assert f"\nversion: {xpnet.__version__}\n" in page("CITATION.cff")
    assert re.findall(r"^## (\S+)", page("CHANGELOG.md"), re.MULTILINE)[0] == xpnet.__version__


def test_what_is_asked_of_whoever_reports_a_fault_exists():
    assert "`xpnet info --json`" in page(".github/ISSUE_TEMPLATE/bug.yml")
    assert "`xpnet conformance NAMESPACE`" in page(".github/ISSUE_TEMPLATE/library.yml")


FORMS = ("bug", "feature", "library")
WORKFLOWS = ("ci", "documentation", "release")


def test_forms_and_workflows_are_yaml_of_their_kind():
    yaml = pytest.importorskip("yaml")
    root = Path(__file__).parent.parent / ".github"
    for name in FORMS:
        form = yaml.safe_load(page(f".github/ISSUE_TEMPLATE/{name}.yml"))
        assert {"name", "description", "body"} <= form.keys()
        ids = [part["id"] for part in form["body"]]
        assert len(set(ids)) == len(ids)
    for name in WORKFLOWS:
        jobs = yaml.safe_load(page(f".github/workflows/{name}.yml"))["jobs"]
        assert all("timeout-minutes" in job for job in jobs.values())
    assert {path.stem for path in (root / "workflows").iterdir()} == set(WORKFLOWS)
    assert {p.stem for p in (root / "ISSUE_TEMPLATE").iterdir()} == {*FORMS, "config"}
    assert yaml.safe_load(page(".readthedocs.yaml"))["sphinx"]["configuration"] == "docs/conf.py"
    assert yaml.safe_load(page("CITATION.cff"))["license"] == "BSD-3-Clause"
