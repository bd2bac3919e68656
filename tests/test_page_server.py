"""The server of the page: what it sends, and what it makes of requests that mean no good."""

import http.client
import json
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from drawing import SEVEN, digits_network, drawn, served

import xpnet
from xpnet import page
from xpnet.cli import main
from xpnet.errors import AddressError, DataError
from xpnet.page import Answers, PageServer, serving
from xpnet.page import server as server_module

pytestmark = [pytest.mark.installed, pytest.mark.libraries]

pytest.importorskip("PIL", reason="pictures are prepared with Pillow")

PICTURE = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def server():
    with served(digits_network(), "a <network>") as running:
        yield running


@pytest.fixture
def seven(server):
    return drawn(SEVEN, server.answers).tobytes()


def ask(server, method, path, body=None, headers=None, **options):
    """The status, the headers and the body of a reply."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.request(method, path, body, headers or {}, **options)
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def raw(server, sent, *, end=False):
    """The reply to these bytes."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall(sent)
        if end:
            connection.shutdown(socket.SHUT_WR)
        reply = b""
        with suppress(ConnectionError):
            while part := connection.recv(1 << 16):
                reply += part
        return reply


def still_answers(server, drawing):
    status, _, content = ask(server, "POST", "/answer", drawing, PICTURE)
    return status == 200 and len(json.loads(content)["outputs"]) == 10


# -- what it sends --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/?x=1", "text/html; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/network", "application/json"),
    ],
)
def test_the_page_and_its_parts(server, path, kind):
    status, headers, content = ask(server, "GET", path)
    assert (status, headers["Content-Type"]) == (200, kind)
    assert int(headers["Content-Length"]) == len(content) > 100
    status, again, nothing = ask(server, "HEAD", path)
    assert (status, again["Content-Length"], nothing) == (200, headers["Content-Length"], b"")


def test_no_part_asks_another_host():
    """Nor does it hold what the headers would forbid: script and style within the document."""
    from importlib.resources import files

    for name in ("page.html", "page.js", "page.css", "icon.svg"):
        text = (files("xpnet.page") / name).read_text(encoding="utf-8")
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
        assert name != "page.html" or not re.search(r"<style|\sstyle=|\son\w+=|<script>", text)


def test_every_reply_has_the_headers_that_keep_it_apart(server):
    for path in ("/", "/network", "/nothing"):
        _, headers, _ = ask(server, "GET", path)
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "xpnet" in headers["Server"]
        assert "Python" not in headers["Server"]


def test_a_drawing_is_answered(server, seven):
    status, _, content = ask(server, "POST", "/answer", seven, PICTURE)
    assert status == 200
    assert json.loads(content) == server.answers.answer(seven)


# -- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "[2001:db8::1]",
        "",
        "127.0.0.1:80:80",
        "127.0.0.1@evil.example",
        "localhost\t.evil.example",
        "[::1",
    ],
)
def test_another_host_name_is_refused(server, host):
    """A page whose name was made to point to this machine has its own name there."""
    for method, path in [("GET", "/"), ("POST", "/answer"), ("GET", "/network")]:
        status, _, content = ask(server, method, path, headers={"Host": host, **PICTURE})
        assert status == 403
        assert server.url in json.loads(content)["error"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LocalHost:{port}", "127.0.0.1:{port}", "[::1]:{port}"]
)
def test_the_names_of_this_machine_are_taken(server, host):
    headers = {"Host": host.format(port=server.server_port)}
    assert ask(server, "GET", "/", headers=headers)[0] == 200


def test_no_host_and_two_hosts(server):
    assert b" 403 " in raw(server, b"GET / HTTP/1.0\r\n\r\n")
    two = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert b" 403 " in raw(server, two)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://127.0.0.1:1", "http://[::1"]
)
def test_another_origin_is_refused(server, seven, origin):
    status, _, content = ask(server, "POST", "/answer", seven, {**PICTURE, "Origin": origin})
    assert status == 403
    assert "origin" in json.loads(content)["error"]
    ours = {**PICTURE, "Origin": server.url.rstrip("/")}
    assert ask(server, "POST", "/answer", seven, ours)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/page.py",
        "/server.py",
        "/../server.py",
        "/%2e%2e/server.py",
        "//etc/passwd",
        "/page.html/../../errors.py",
        "/page.js%00",
        "http://evil.example/",
        "*",
        "/[",
        "/network/",
        "/" + "x" * 5000,
    ],
)
def test_another_path_is_nothing(server, path):
    status, _, content = ask(server, "GET", path, headers={"Host": "localhost"})
    assert status == 404
    assert len(json.loads(content)["error"]) < 300


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_another_method_is_refused(server, method):
    status, headers, _ = ask(server, method, "/answer")
    assert (status, headers["Allow"]) == (405, "POST")
    if method not in ("GET", "HEAD"):
        status, headers, _ = ask(server, method, "/")
        assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_methods_and_versions_that_there_are_not(server, seven):
    for line in (
        b"BREW / HTTP/1.1",
        b"GET",
        b"GET / HTTP/9.9",
        b"GET / JUNK",
        b"\xff\xfe\x00",
        b"a b c d",
    ):
        reply = raw(server, line + b"\r\nHost: localhost\r\n\r\n")
        assert re.match(rb"HTTP/1.0 [45]\d\d ", reply)  # also to what names no version
    assert raw(server, b"", end=True) == raw(server, b"\r\n\r\n", end=True) == b""
    assert still_answers(server, seven)


@pytest.mark.parametrize(
    ("headers", "size", "status"),
    [
        ({}, None, 415),
        ({"Content-Type": "application/json"}, None, 415),
        ({"Content-Type": "image/png"}, None, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, None, 415),
        (PICTURE, 0, 400),
        (PICTURE, 10, 400),
        (PICTURE, 336 * 336 - 1, 400),
        (PICTURE, 336 * 336 + 1, 413),
        (PICTURE, 5_000_000, 413),
    ],
)
def test_a_body_of_another_kind_or_size_is_refused(server, seven, headers, size, status):
    body = seven if size is None else b"\x89PNG\r\n\x1a\n" * (size // 8) + b"x" * (size % 8)
    found, _, content = ask(server, "POST", "/answer", body, headers)
    assert found == status
    assert set(json.loads(content)) == {"error"}
    assert still_answers(server, seven)


@pytest.mark.parametrize(
    "length",
    [
        "-1",
        "+5",
        "1_000",
        "0x10",
        "9" * 30,
        "",
        "five",
        "112896, 112896",
        "112896\r\nContent-Length: 3",
    ],
)
def test_a_length_that_is_none(server, seven, length):
    head = (
        f"POST /answer HTTP/1.1\r\nHost: localhost\r\nContent-Type: {PICTURE['Content-Type']}\r\n"
    )
    reply = raw(server, f"{head}Content-Length: {length}\r\n\r\n".encode() + seven)
    assert re.match(rb"HTTP/1.0 4\d\d ", reply)
    assert still_answers(server, seven)


@pytest.mark.parametrize("more", [{}, {"Content-Length": "112896"}], ids=["alone", "with-a-length"])
def test_a_body_in_chunks(server, more):
    headers = {**PICTURE, "Transfer-Encoding": "chunked", **more}
    status, _, content = ask(
        server, "POST", "/answer", iter([b"abc"]), headers, encode_chunked=True
    )
    assert status == 411
    assert "no Transfer-Encoding" in json.loads(content)["error"]


def test_a_body_of_which_terabytes_are_promised_is_not_waited_for(server, seven):
    began = time.monotonic()
    head = "POST /answer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
    reply = raw(server, f"{head}Content-Length: 9999999999999\r\n\r\n".encode() + b"x" * 100)
    assert b" 413 " in reply
    assert time.monotonic() - began < 10
    assert still_answers(server, seven)


# -- what ends nothing ----------------------------------------------------------------------------


def test_connections_that_break_off(server, seven):
    head = "POST /answer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
    head = f"{head}Content-Length: {len(seven)}\r\n\r\n".encode()
    for sent in (b"", b"GE", b"GET / HTTP/1.1\r\nHos", head, head + seven[:1000], head + seven):
        with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            # Closed with a reset, whatever the server is about to send.
            linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(sent)
    assert raw(server, head + seven[:1000], end=True) == b""
    assert still_answers(server, seven)


def test_who_sends_slowly_keeps_nobody_waiting(seven, monkeypatch):
    """And is cut off, however regularly the next byte comes."""
    monkeypatch.setattr(server_module, "_SECONDS", 0.5)
    with served(digits_network()) as server:
        slow = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(20)]
        assert still_answers(server, seven)
        until = time.monotonic() + 20
        while slow and time.monotonic() < until:
            time.sleep(0.05)
            for connection in list(slow):
                try:
                    connection.sendall(b"x")
                except OSError:
                    slow.remove(connection)
                    connection.close()
        assert not slow
        assert still_answers(server, seven)


def test_so_many_connections_there_may_be(seven, monkeypatch):
    monkeypatch.setattr(server_module, "_CONNECTIONS", 4)
    with served(digits_network()) as server:
        held = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(4)]
        time.sleep(0.2)
        assert raw(server, b"") == b""  # closed at once
        for connection in held:
            connection.close()
        time.sleep(0.3)
        assert still_answers(server, seven)


def test_many_at_once_get_each_their_own_answer(server):
    drawings = [drawn([((x, 0.2), (x, 0.8))], server.answers, 0.03 * i + 0.04).tobytes()
                for i, x in enumerate((0.3, 0.5, 0.7))]  # fmt: skip
    expected = [server.answers.answer(drawing) for drawing in drawings]
    found = {}

    def one(i):
        found[i] = json.loads(ask(server, "POST", "/answer", drawings[i % 3], PICTURE)[2])

    threads = [threading.Thread(target=one, args=(i,)) for i in range(18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [found[i] for i in range(18)] == expected * 6


def test_an_error_of_the_network_is_a_reply(server, seven, monkeypatch, caplog):
    with monkeypatch.context() as patched:
        patched.setattr(server.answers, "answer", lambda drawing: 1 / 0)
        status, _, content = ask(server, "POST", "/answer", seven, PICTURE)
        assert (status, json.loads(content)["error"]) == (
            500,
            "ZeroDivisionError: division by zero",
        )
        assert "ZeroDivisionError" in caplog.text

        def refuse(drawing):
            raise DataError("the network gives no finite numbers for this picture")

        patched.setattr(server.answers, "answer", refuse)
        status, _, content = ask(server, "POST", "/answer", seven, PICTURE)
        assert (status, json.loads(content)["error"][:15]) == (422, "the network giv")

        def lost(drawing):
            raise FileNotFoundError("no such file: kernel.cu")  # which is no broken connection

        patched.setattr(server.answers, "answer", lost)
        status, _, content = ask(server, "POST", "/answer", seven, PICTURE)
        assert (status, "kernel.cu" in json.loads(content)["error"]) == (500, True)
    assert still_answers(server, seven)


# -- where it is ----------------------------------------------------------------------------------


def test_it_is_reached_from_this_machine_alone_unless_others_are_let_in():
    answers = Answers(digits_network())
    with PageServer(answers) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert server.is_local
        assert not server.is_named("192.0.2.1")
    with PageServer(answers, "0.0.0.0") as server:
        assert not server.is_local
        assert urlsplit(server.url).hostname == "127.0.0.1"
        others = urlsplit(server.url_for_others)
        assert others.port == server.server_port
        assert server.is_named(others.netloc)
        assert server.is_named("192.0.2.1:80")
        assert server.is_named(socket.gethostname())
        assert not server.is_named("evil.example")


def test_an_address_of_version_six():
    try:
        server = PageServer(Answers(digits_network()), "::1")
    except AddressError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with server:
        assert server.url == f"http://[::1]:{server.server_port}/"
        assert server.is_local


def test_an_address_that_cannot_be_used():
    answers = Answers(digits_network())
    with PageServer(answers) as server:
        with pytest.raises(AddressError, match=r"port \d+ of 127.0.0.1 is taken: give another"):
            PageServer(answers, port=server.server_port)
        port = server.server_port
    with PageServer(answers, port=port) as again:  # free again at once
        assert again.server_port == port
    for host, why in [
        ("no-such-host.invalid", "no host that is known"),
        ("203.0.113.1", "another machine's"),
        ("a" * 300, "no host that is known"),
        ("\ud800", "no host that is known"),
    ]:
        with pytest.raises(AddressError, match=why):
            PageServer(answers, host)
    for port in (-1, 70_000, "80"):
        with pytest.raises(ValueError, match="port must be an integer from 0 to 65535"):
            PageServer(answers, port=port)


# -- from the command line ------------------------------------------------------------------------


def xp(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert "Traceback" not in result.output
    return result.exit_code, result.output


@pytest.fixture
def model(tmp_path):
    digits_network().save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    ("display", "flags", "opened"),
    [(":0", [], True), (":0", ["--no-browser"], False), ("", [], False)],
    ids=["a-screen", "no-browser", "no-screen"],
)
def test_the_command_opens_a_browser_where_there_is_one(model, monkeypatch, display, flags, opened):
    tried, closed = threading.Event(), threading.Event()

    def serve(server, poll_interval=0.5):
        tried.wait(5 if opened else 0.2)
        closed.set()
        raise KeyboardInterrupt  # as Ctrl-C does

    if not display and sys.platform in ("win32", "darwin"):
        pytest.skip("there is always a screen here")
    for name in ("WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setattr(serving.webbrowser, "open", lambda url: tried.set())
    monkeypatch.setattr(PageServer, "serve_forever", serve)
    code, output = xp("draw", model, "--backend", "numpy", *flags)
    assert code == 0
    assert re.search(r"model.safetensors: draw on http://127.0.0.1:\d+/ \(Ctrl-C ends it\)", output)
    assert closed.is_set()
    assert tried.is_set() == opened


def test_the_command_refuses_what_cannot_be(model, tmp_path):
    with PageServer(Answers(digits_network())) as server:
        code, output = xp("draw", model, "--port", server.server_port, "--no-browser")
        assert code == 2
        assert f"error: port {server.server_port} of 127.0.0.1 is taken" in output
    assert xp("draw", model, "--port", "70000")[0] == 2
    assert xp("draw", model, "--host", "no-such-host.invalid")[0] == 2
    assert xp("draw", tmp_path / "none")[0] == 1
    table = xpnet.fit(
        xpnet.mlp(4, 3, 2), ([[0, 1, 2, 3.0]] * 4, [0, 1, 0, 1]), epochs=1, backend="numpy"
    )
    table.save(tmp_path / "table.safetensors")
    code, output = xp("draw", tmp_path / "table.safetensors")
    assert code == 1
    assert re.search(
        r"error: .*table.safetensors: the network takes samples of shape \(4,\), not pictures",
        output,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a signal of POSIX")
def test_control_c_ends_it_cleanly(model):
    import signal

    command = [
        sys.executable,
        "-m",
        "xpnet",
        "draw",
        str(model),
        "--no-browser",
        "--backend",
        "numpy",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        line = run.stdout.readline()
        port = int(re.search(r"http://127.0.0.1:(\d+)/", line)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        run.send_signal(signal.SIGINT)
        assert run.wait(20) == 0
        assert run.stderr.read() == ""


def test_serve_is_the_same_from_python(monkeypatch):
    said = []
    monkeypatch.setattr(PageServer, "serve_forever", lambda server: None)
    page.serve(digits_network(), host="0.0.0.0", browser=False, say=said.append)
    assert said[0].startswith("draw on http://127.0.0.1:")
    assert re.match(r"all who reach this machine can open it too: http://\S+:\d+/$", said[1])


def test_control_c_ends_it_as_soon_as_its_address_is_said():
    def say(line):
        raise KeyboardInterrupt

    try:
        page.serve(digits_network(), browser=False, say=say)
    except KeyboardInterrupt:  # which would end all tests
        pytest.fail("it went on")


def test_a_browser_that_cannot_be_opened_is_none(monkeypatch):
    """Such as one that BROWSER names with a quotation mark too many."""
    before, tried, wrong = set(threading.enumerate()), [], []

    def fail(url):
        tried.append(url)
        raise ValueError("No closing quotation")

    def serve_forever(server):
        for thread in set(threading.enumerate()) - before:
            thread.join(20)

    monkeypatch.setenv("BROWSER", "'browser %s")
    monkeypatch.setattr(threading, "excepthook", wrong.append)
    monkeypatch.setattr(serving.webbrowser, "open", fail)
    monkeypatch.setattr(PageServer, "serve_forever", serve_forever)
    page.serve(digits_network(), say=lambda line: None)
    assert len(tried) == 1
    assert not wrong
