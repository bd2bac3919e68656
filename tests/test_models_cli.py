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
    assert "hidden" not in config
    network = xpnet.load(tmp_path / "run", backend="numpy")
    assert network.model == xpnet.models.small_cnn((8, 8), 10)
    assert run("evaluate", tmp_path / "run").exit_code == 0


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
