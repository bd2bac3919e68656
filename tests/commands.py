"""The command line, as tests run it."""

from click.testing import CliRunner

from xpnet.cli import main


def xp(*arguments, code=0):
    """Run the command; check its exit code and that no traceback was printed."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    assert "Traceback" not in result.output
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return result
