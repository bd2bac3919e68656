"""An option of a run stands in one place, the field of `RunConfig`: all else is made from it."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import MISSING, dataclass, replace
from pathlib import Path

import pytest
from conftest import page

import xpnet
from xpnet import Adam, load_dataset
from xpnet.cli.libraries import parity
from xpnet.cli.training import train
from xpnet.runs.choices import defaults_of_classes, defaults_of_models
from xpnet.runs.config import RunConfig
from xpnet.runs.config_file import write_config
from xpnet.runs.options import Option, OptionError, Section, option, options_of

pytestmark = pytest.mark.installed

OPTIONS = options_of(RunConfig)


# -- one more -------------------------------------------------------------------------------------

ADDED = """
    averaged: int = option(
        1, "Batches whose gradients make a step, {range}.",
        section=Section.TRAINING, at_least=1, at_most=64, may_change=True,
    )
    beta1: float | None = option(
        None, "With adam and the like: decay of the mean of the gradients, {range}.",
        section=Section.OPTIMIZER, of="optimizer", at_least=0, below=1,
    )
    # fmt: on
"""

COMMANDS = [
    "train --help",
    "parity --help",
    "train --averaged 65",
    "train --beta1 0.5",
    "train --config a.toml",
    "train --config b.toml",
    "train --optimizer adam --beta1 0.5 --limit 50 --backend numpy --threads 1 --epochs 2 "
    "--stop-after 1 --out run",
    "train --resume run --averaged 2 --beta1 0.25",
]


def test_a_field_is_all_that_an_option_takes(tmp_path):
    """As CONTRIBUTING.md says: in a copy of the package two fields are added, and nothing else."""
    shutil.copytree(Path(xpnet.__file__).parent, tmp_path / "xpnet")
    file = tmp_path / "xpnet" / "runs" / "config.py"
    fields, rest = file.read_text(encoding="utf-8").split("    # fmt: on\n")
    file.write_text(fields + ADDED.lstrip("\n") + rest, encoding="utf-8")
    (tmp_path / "a.toml").write_text("averaged = 0\n")
    (tmp_path / "b.toml").write_text("avreaged = 3\n")
    code = (
        "from click.testing import CliRunner\n"
        "from xpnet.cli import main\n"
        f"for command in {COMMANDS}:\n"
        "    result = CliRunner().invoke(main, command.split(), prog_name='xpnet')\n"
        "    print('=====', result.exit_code, *result.output.split())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.split("===== ")[1:]
    for text in found[:2]:
        training = text.partition("Training:")[2].partition("Optimizer:")[0]
        assert "--averaged N Batches whose gradients make a step, from 1 to 64." in training
        assert "--beta1 X With adam and the like: decay" in text.partition("Optimizer:")[2]
        assert "from 0 to below 1. [default: that of the optimizer]" in text.partition("--beta1")[2]
    mistakes = (
        "'--averaged': must be 64 at the most, got 65",
        "'--beta1': means nothing for the optimizer sgd: it is for adam, adamw, lion",
        "a.toml: averaged must be an integer from 1 upwards, got 0 (at line 1, column 1)",
        "b.toml: there is no option 'avreaged'; there are dataset, limit,",
    )
    for text, mistake in zip(found[2:6], mistakes, strict=True):
        assert text.startswith("2 ")
        assert mistake in text
    assert "beta1; did you mean 'averaged'? (at line 1, column 1)" in found[5]
    assert found[6].startswith("0 "), found[6]
    assert "Adam(0.001, beta1=0.5)" in found[6]
    assert (tmp_path / "run" / "config.toml").read_text().endswith("averaged = 1\nbeta1 = 0.5\n")
    assert "'--beta1': cannot change in a run that goes on: beta1 was 0.5 and is 0.25." in found[7]


# -- what a field says ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Wider(RunConfig):
    """More options than there are."""

    beta2: float | None = option(
        None, "Decay.", section=Section.OPTIMIZER, of="optimizer", at_least=0, below=1
    )
    shift: int = option(0, "Pixels.", section=Section.DATA)
    words: str = option("few", "Of what is said.", section=Section.DATA, choices=("few", "many"))
    names: tuple[str, ...] = option((), "Of layers.", section=Section.DATA)
    rate: float = option(
        0.5,
        "Up to {range}.",
        section=Section.DATA,
        at_most=1,
        problem=lambda rate: "is odd" if rate == 0.3 else "",
    )


def test_an_option_that_a_subclass_adds():
    config = Wider(optimizer="adam", beta2=0.5, words="many", names=["fc1"], shift=-3, rate=0)
    assert config.build_optimizer() == Adam(beta2=0.5)
    assert Wider(optimizer="adam").beta2 == Adam().beta2
    assert Wider.from_dict(config.to_dict()) == config
    assert (config.names, config.shift, type(config.rate)) == (("fc1",), -3, float)
    end = '\nbeta2 = 0.5\nshift = -3\nwords = "many"\nnames = ["fc1"]\nrate = 0.0\n'
    assert write_config(config).endswith(end)
    assert "beta2" not in OPTIONS


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("beta2", 0.5, "beta2 means nothing for the optimizer sgd: it is for adam, adamw, lion"),
        ("shift", 1.0, "shift must be an integer, got 1.0"),
        ("words", "mayn", "must be one of few, many; got 'mayn'; did you mean 'many'?"),
        ("names", "fc1", "names must be a list of names of layers"),
        ("names", None, "names must be a list of names of layers"),
        ("rate", 2, "rate must be at most 1"),
        ("rate", 0.3, "rate is odd"),
    ],
)
def test_what_is_refused_follows_from_the_field(name, value, message):
    with pytest.raises(OptionError, match=re.escape(message)) as info:
        Wider(**{name: value})
    assert info.value.name == name


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ({"above": 0}, "above 0"),
        ({"above": 0, "below": 1}, "above 0 and below 1"),
        ({"above": 0.5, "at_most": 1.0}, "above 0.5 and at most 1"),
        ({"at_least": 0}, "0 or more"),
        ({"at_least": 0, "below": 1}, "from 0 to below 1"),
        ({"at_least": 0, "at_most": 1}, "from 0 to 1"),
        ({"below": 1}, "below 1"),
        ({"at_most": 1}, "1 or less"),
    ],
    ids=str,
)
def test_a_range_in_words(ends, words):
    about = {"kind": float, "default": None, "help": "It is {range}.", "section": None}
    one = Option(name="a", **about, **ends)
    assert one.explanation == f"It is {words}."


@pytest.mark.parametrize(
    ("kind", "about", "message"),
    [
        (bool, {"at_least": 0}, "a: at_least means nothing for an option of this type"),
        (int, {"above": 0}, "a: above means nothing for an option of this type"),
        (int, {"choices": ("1", "2")}, "a: choices means nothing"),
        (tuple[int, ...], {"at_most": 9}, "a: at_most means nothing"),
        (float, {"path": "file"}, "a: path means nothing"),
        (float, {"help": "It is {range}."}, r"a: the help has a \{range\}, and there is none"),
        (float, {"abov": 0}, "unexpected keyword argument 'abov'"),
        (float, {"section": "Datum"}, "a: the section must be one of Section, or None"),
    ],
    ids=str,
)
def test_a_field_that_contradicts_itself(kind, about, message):
    with pytest.raises(TypeError, match=message):
        Option(
            **{"name": "a", "kind": kind, "default": None, "help": "It", "section": None, **about}
        )


def test_a_field_of_a_type_that_no_option_has():
    @dataclass(frozen=True)
    class Odd(RunConfig):
        pair: tuple[int, int] = option((1, 2), "Two.", section=Section.DATA)

    @dataclass(frozen=True)
    class Bare(RunConfig):
        number: int = 3

    for odd, name in ((Odd, "Odd.pair"), (Bare, "Bare.number")):
        with pytest.raises(TypeError, match=f"{name}: a field is made by option"):
            odd()


# -- where they are shown -------------------------------------------------------------------------


def test_every_option_is_in_a_section_but_the_argument():
    assert [name for name, one in OPTIONS.items() if one.section is None] == ["dataset"]
    flags = {flag for parameter in train.params for flag in parameter.opts}
    assert {f"--{name.replace('_', '-')}" for name in OPTIONS} - flags == {"--dataset"}
    assert all(one.help.endswith(".") for one in OPTIONS.values())
    # An option of a class that no class has would be refused for each of them.
    assert all(defaults_of_classes(one) for one in OPTIONS.values() if one.of)


def test_the_docstring_has_all_of_them():
    text = RunConfig.__doc__
    for name, one in OPTIONS.items():
        assert f"\n{name}\n    {one.explanation}\n" in text
    assert "    One of sgd, momentum, " in text


def rows(text):
    """The rows of the tables of options on a page, by the option: its default and its meaning."""
    for line in re.findall(r"^\|( `--.*) \|$", text, re.MULTILINE):
        names, default, meaning = (cell.strip() for cell in line.split("|", 2))
        for name in re.findall(r"--([\w-]+)", names):
            yield name.replace("-", "_"), (default.strip("`"), meaning)


def test_the_tables_of_the_documentation_say_the_same():
    text = page("docs/command-line.md")
    found = list(rows(text.partition("\n## train")[2].partition("\n### ")[0]))
    assert len(found) == len(dict(found))
    table = dict(found)
    shown = {name: one for name, one in OPTIONS.items() if one.section is not None}
    missing = [name for name in shown if name not in table]
    assert missing == [], "docs/command-line.md: the tables of train have no row for these"
    for name, one in shown.items():
        default, meaning = table[name]
        row = f"docs/command-line.md: the row of {name} in the tables of train"
        if one.of:
            values = [d for d in defaults_of_classes(one).values() if d not in (MISSING, None)]
            words = {replace(one, default=value).default_in_words for value in values}
            allowed = words | ({f"the {one.of}'s"} if values else {""})
            assert default in allowed, row
        else:
            assert default == ("off" if one.kind is bool else one.default_in_words), row
        for model, value in defaults_of_models(one).items():
            said = rf"`?{re.escape(one.in_words(value))}`? with [^;]*`{model}`"
            assert re.search(said, meaning), f"{row} does not say what {model} has"
        left_out = [word for word in one.choices if f"`{word}`" not in meaning]
        assert left_out == [], f"{row} does not name these"
        for said in re.findall(
            r"from \S+ to (?:below )?\d+|above \d\S*(?: and below \d)?", meaning
        ):
            assert said in one.explanation, row


def test_the_documentation_says_which_may_change():
    text = " ".join(page("docs/command-line.md").split())
    (said,) = re.findall(r"These may change: (.*?)\. Any other", text)
    may_change = {name.replace("_", "-") for name, one in OPTIONS.items() if one.may_change}
    wrong = may_change ^ set(re.findall(r"--([\w-]+)", said))
    assert wrong == set(), "docs/command-line.md, after 'These may change': too many, or missing"


# -- what the options are used for ----------------------------------------------------------------


OTHERS = {bool: True, int: 3, float: 0.25, tuple[int, ...]: (5,)}
NEEDED = {"step": {"schedule_every": 2}, "exponential": {"schedule_factor": 0.5}}


def other_value(one):
    """One that is allowed, and not the default."""
    if one.name == "model":
        return "resnet8"  # which takes the smallest pictures
    if one.name == "augment":
        return ("elastic", "flip:vertical=0.5")
    if one.choices:
        usual = defaults_of_classes(one).values() if one.of else [one.default]
        return next(word for word in one.choices if word not in usual)
    return OTHERS[one.kind]


def test_parity_uses_the_options_that_it_takes():
    """Each changes the network, or how it is trained, but for what the command reads itself."""
    data = load_dataset("digits")
    taken = {parameter.name for parameter in parity.params} & OPTIONS.keys()
    assert {"hidden", "epochs", "momentum", "schedule_every"} <= taken
    assert not {"start", "freeze", "patience", "threads", "steps", "checkpoint_every"} & taken

    def training(**given):
        config = RunConfig(**given)
        return repr((config.build_model(data), config.fit_options()))

    of_data = {"dataset", "limit", "data_dir", *RunConfig().table_options()}
    for name in taken - of_data - {"dtype"}:
        one, chosen = OPTIONS[name], {}
        if one.of:
            word = list(defaults_of_classes(one))[-1]
            chosen = {one.of: word, **NEEDED.get(word, {})}
        value = other_value(one)
        changed = {**NEEDED.get(value, {}), **chosen, name: value}
        assert training(**chosen) != training(**changed), name


NEEDED = {"step": {"schedule_every": 5}, "exponential": {"schedule_factor": 0.5}}
OF_CLASSES = [
    (one.name, one.of, word)
    for one in OPTIONS.values()
    if one.of and one.kind in (int, float)
    for word in defaults_of_classes(one)
]


@pytest.mark.parametrize(("name", "of", "word"), OF_CLASSES)
def test_what_a_run_may_ask_for_its_optimizer_and_schedule_take(name, of, word):
    """And refuses what is wrong by the name of the option, and not by that of the class."""
    refused = []
    for value in (-1, -1e-9, 0, 1e-9, 0.5, 0.999, 1, 1.001, 2, 7.5, 10**6, 10**400):
        asked = {"epochs": 10**7, of: word, **NEEDED.get(word, {}), name: value}
        try:
            RunConfig(**asked).build_optimizer()
        except OptionError as error:
            refused.append(error.name)
    assert set(refused) == {name}
    assert len(refused) < 12
