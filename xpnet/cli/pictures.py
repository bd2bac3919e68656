"""The pictures of a run, where they can be drawn."""

from pathlib import Path

from xpnet.cli.streams import tell
from xpnet.data import Dataset, Split
from xpnet.training import Network
from xpnet.typing import HostArray


def judged_on(data: Dataset) -> tuple[str, Split]:
    """The split that the final figures and the pictures are of, and its name."""
    return ("training", data.train) if data.test is None else ("test", data.test)


def draw_pictures(folder: Path, network: Network, data: Dataset, counts: HostArray) -> bool:
    """Draw the pictures of a run; False, with a hint, where matplotlib is missing."""
    from xpnet import plots  # late: the other commands start sooner

    which, split = judged_on(data)
    try:
        plots.draw_run(folder, network, split, counts, f"{data.name}, {which} set")
    except ImportError as error:
        hint = "they need pip install 'xpnet[plot]'"
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            hint = str(error)
        tell(f"pictures left out: {hint}", err=True)
        return False
    return True
