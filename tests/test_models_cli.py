"""`xpnet train --model`: what it trains, and what it refuses."""

import pytest
from click.testing import CliRunner

import xpnet
from xpnet.cli import main

pytestmark = pytest.mark.installed


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_network_with_convolutions_is_trained_and_loaded_again(tmp_path):
    options = ["--model", "small_cnn", "--limit", 60, "--epochs", 1, "--backend", "numpy"]
    result = run("train", "digits", *options, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "small_cnn, relu, max pooling" in result.output
    config = (tmp_path / "run" / "config.toml").read_text(encoding="utf-8")
    assert 'model = "small_cnn"\n' in config
    # What the model is trained with where nothing is said of it, but for what was given.
    assert 'optimizer = "adam"\nlearning-rate = 0.001\n' in config
    assert 'schedule = "cosine"\n' in config
    assert "epochs = 1\n" in config
    assert "steps:   Adam(0.001, schedule=Cosine(" in result.output
    assert "hidden" not in config
    network = xpnet.load(tmp_path / "run", backend="numpy")
    assert network.model == xpnet.models.small_cnn((8, 8), 10)
    assert run("evaluate", tmp_path / "run").exit_code == 0


def test_a_run_goes_on_as_it_was_begun_whatever_the_model_is_trained_with(tmp_path):
    options = ["--model", "small_cnn", "--limit", 60, "--backend", "numpy", "--epochs", 2]
    others = ["--optimizer", "sgd", "--schedule", "constant", "--learning-rate", 0.05]
    for name, more in (("whole", []), ("half", ["--stop-after", 1])):
        result = run("train", "digits", *options, *others, *more, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert "steps:" not in result.output  # of plain descent there is nothing to be said
    result = run("train", "--resume", tmp_path / "half")
    assert result.exit_code == 0, result.output
    again = run("train", "--config", tmp_path / "half" / "config.toml", "--out", tmp_path / "again")
    assert again.exit_code == 0, again.output
    whole, half, again = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "half", "again")
    )
    assert whole == half == again
    wrong = run("train", "--resume", tmp_path / "half", "--optimizer", "adam")
    assert "optimizer was 'sgd' and is 'adam'" in " ".join(wrong.output.split())


def test_the_help_says_what_models_are_trained_with():
    for command in ("train", "parity"):
        text = " ".join(run(command, "--help").output.split())
        assert "[default: sgd; nesterov with lenet5; adam with small_cnn]" in text
        assert "[default: constant; cosine with lenet5 and small_cnn]" in text
        assert "[default: 20; 3 with small_cnn]" in text
        assert "Penalty in the gradient, 0 or more. [default: 0.0005 with lenet5]" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "lenet5"], "'--model': lenet5 takes pictures of 12 x 12 pixels or more"),
        (["--model", "lenet5", "--hidden", "8"], "'--hidden': means nothing for the model lenet5"),
        (["--model", "resnet8", "--no-batch-norm", "--pooling", "max"], "'--pooling': means noth"),
        (["--model", "lenet"], "'--model'"),
    ],
)
@pytest.mark.parametrize("command", ["train", "parity"])
def test_what_does_not_go_together_is_refused(command, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backends = ["--backends", "numpy,array_api_strict"] if command == "parity" else []
    if backends:
        pytest.importorskip("array_api_strict")
    result = run(command, "digits", *options, *backends)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())
