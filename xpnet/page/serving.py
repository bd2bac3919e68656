"""The page of a network, from when it is opened in a browser until Ctrl-C."""

import os
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress

from xpnet.network import Network
from xpnet.page.answers import Answers
from xpnet.page.server import PageServer


def serve(
    network: Network,
    *,
    title: str = "",
    host: str = "127.0.0.1",
    port: int = 0,
    browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a page on which a network answers to what is drawn, until Ctrl-C.

    Parameters
    ----------
    network
        A network for pictures, on any backend.
    title
        What the network is called on the page.
    host, port
        Where the page is: see `PageServer`.
    browser
        Whether to open the page in a browser, where there is one with a window.
    say
        Is told the address of the page.

    Raises
    ------
    DataError
        If the network does not take pictures.
    AddressError
        If the page cannot be there.
    ValueError
        If the port is not from 0 to 65535.
    """
    server = PageServer(Answers(network, title), host, port)
    with server, suppress(KeyboardInterrupt):
        say(f"draw on {server.url} (Ctrl-C ends it)")
        if not server.is_local:
            say(f"all who reach this machine can open it too: {server.url_for_others}")
        if browser and _has_windows():
            # In a thread of its own: some browsers are waited for.
            threading.Thread(target=_open_browser, args=(server.url,), daemon=True).start()
        server.serve_forever()


def _has_windows() -> bool:
    """Whether a browser would have a window: one in a terminal would take that over."""
    if os.name == "nt" or sys.platform == "darwin":
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _open_browser(url: str) -> None:
    with suppress(Exception):  # of whatever BROWSER names; the address is printed as well
        webbrowser.open(url)
