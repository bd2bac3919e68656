"""A page to draw on: what a network says of a drawing while it is drawn, and what goes on inside.

`serve` shows it in a browser, as `xpnet draw` does. The page itself is plain HTML, CSS and
JavaScript in the files beside this one.
"""

from xpnet.page.answers import Answers
from xpnet.page.insight import Insight, Unit, look_inside
from xpnet.page.server import PageServer
from xpnet.page.serving import serve

__all__ = ["Answers", "Insight", "PageServer", "Unit", "look_inside", "serve"]
