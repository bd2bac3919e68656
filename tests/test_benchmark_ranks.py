"""The benchmark of ranks: its model of clusters, its bytes, its workers, and what it writes."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import REQUIRED, page

SCRIPTS = Path(__file__).parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

from benchmarking.cases import Case, Task  # noqa: E402
from benchmarking.clusters import (  # noqa: E402
    LINKS,
    Link,
    fitted_link,
    interpolated,
    least_bytes,
    predictions,
    ring_seconds,
    step_seconds,
    tree_seconds,
)
from benchmarking.ranks import (  # noqa: E402
    BATCHES,
    NETWORKS,
    bytes_per_step,
    n_parameters,
    rank_peers,
    steps_per_epoch,
)
from benchmarking.runner import Measured, Settings  # noqa: E402

from xpnet import fit, mlp  # noqa: E402
from xpnet.distributed.mpi import probe_mpi  # noqa: E402

LINK = Link("round numbers", latency=1e-3, bandwidth=1000.0)


@pytest.fixture
def _mpi():
    """Skips, or fails if required, where there is no MPI."""
    reason = probe_mpi().reason
    if shutil.which("mpiexec", path=str(Path(sys.executable).parent)) is None:
        reason = "there is no mpiexec beside this Python: pip install 'xpnet[mpi]'"
    if reason and "mpi" in REQUIRED:
        pytest.fail(f"XPNET_REQUIRE asks for mpi, but: {reason}")
    if reason:
        pytest.skip(reason)


# -- the model ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranks", "ring", "tree"),
    [
        (1, 0.0, 0.0),
        # 8,000 bytes: 2 messages of 4,000, against 2 of 8,000.
        (2, 2 * (0.001 + 4), 2 * (0.001 + 8)),
        # 4 messages of a third; up and down two levels.
        (3, 4 * (0.001 + 8 / 3), 4 * (0.001 + 8)),
        (8, 14 * (0.001 + 1), 6 * (0.001 + 8)),
        (1024, 2046 * (0.001 + 8 / 1024), 20 * (0.001 + 8)),
    ],
)
def test_sums_by_ring_and_tree(ranks, ring, tree):
    assert ring_seconds(8000, ranks, LINK) == pytest.approx(ring)
    assert tree_seconds(8000, ranks, LINK) == pytest.approx(tree)
    # What a ring sends is the least that can be sent.
    without_latency = Link("", 0.0, 1000.0)
    sent = 1000 * ring_seconds(8000, ranks, without_latency)
    assert sent == pytest.approx(least_bytes(8000, ranks))


def test_parts_between_those_that_were_measured():
    measured = {10: 1.0, 20: 2.0, 40: 6.0}
    assert [interpolated(x, measured) for x in (10, 15, 20, 30, 40, 50)] == [1, 1.5, 2, 4, 6, 8]
    assert interpolated(1, measured) == 0.5, "no part takes nothing"


def test_a_step_is_its_largest_part_and_a_sum():
    parts = {1: 1.0, 5: 5.0}
    # Of 10 samples 3 ranks have 3, 3 and 4.
    found = step_seconds(10, 3, 8000, parts, LINK)
    assert found["ring"] == pytest.approx(4 + ring_seconds(8000, 3, LINK))
    assert found["tree"] == pytest.approx(4 + tree_seconds(8000, 3, LINK))
    # More ranks than samples.
    assert step_seconds(2, 8, 0, parts, Link("", 0, 1))["tree"] == 1.0


def test_predictions_take_the_better_way_to_add():
    found = predictions([16], {16: 8.0}, {1: 0.5, 16: 8.0}, 1.0, (2, 16), (LINK,))
    assert [(row["ranks"], row["link"]) for row in found] == [
        (2, "round numbers"),
        (16, "round numbers"),
    ]
    for row in found:
        assert row["seconds"][row["way"]] == min(row["seconds"].values())
        assert row["speed_up"] == 8.0 / min(row["seconds"].values())
    # Few bytes on many ranks: a ring waits for each of 30 messages.
    assert found[1]["way"] == "tree"


def test_a_link_is_found_again_from_what_its_messages_take():
    sizes = [8, 4096, 2 << 20, 16 << 20]
    link = Link("", 3e-6, 5e9)
    found = fitted_link([{"bytes": n, "least": ring_seconds(n, 2, link)} for n in sizes])
    assert found.latency == pytest.approx(link.latency)
    assert found.bandwidth == pytest.approx(link.bandwidth)


def test_links_are_as_fast_as_their_names_say():
    for link in LINKS:
        assert link.source
        assert 1e-7 < link.latency < 1e-4
    rates = {link.name: link.bandwidth for link in LINKS}
    assert rates["10 Gb Ethernet, TCP"] == 10e9 / 8
    assert rates["100 Gb InfiniBand"] == 100e9 / 8


# -- what is measured -----------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", NETWORKS)
def test_parameters_are_those_of_the_network(hidden):
    shapes = mlp(784, *hidden, 10).parameter_shapes().values()
    total = 0
    for shape in shapes:
        size = 1
        for length in shape:
            size *= length
        total += size
    assert n_parameters(hidden) == total


def test_bytes_of_a_step_are_those_of_the_parameters_and_four_numbers():
    found = bytes_per_step((4,))
    assert found["parameters"] == 4 * n_parameters((4,))
    assert found["least"] == found["parameters"], "of two ranks, each sends what it has"
    assert found["fast"] == found["parameters"] + 4 * 4
    assert found["fast"] < found["exact"] < found["fast"] + 1000
    # Of four ranks by the best sum 6/4 of it; exactly, three times.
    found = bytes_per_step((4,), ranks=4)
    assert found["fast"] == round(1.5 * (found["parameters"] + 16))
    assert 3 * found["parameters"] < found["exact"] < 3 * found["parameters"] + 2000


def test_who_is_measured():
    peers = {peer.name: peer for peer in rank_peers((2, 8))}
    assert list(peers) == [
        *("alone-1", "alone-2", "ranks-2", "part"),
        *("exact-2-1", "exact-2-2", "exact-8-1", "exact-8-2"),
    ]
    assert [peer.ranks for peer in peers.values()] == [None, None, 2, None, 1, 2, 1, 2]
    assert {name for name, peer in peers.items() if peer.threads != 1} == {"alone-2"}
    for hidden in NETWORKS:
        steps = [steps_per_epoch(Case(hidden, batch)) for batch in BATCHES]
        assert steps == sorted(steps, reverse=True)
        assert min(steps) >= 2


def test_threads_of_a_peer_are_its_own():
    found = Settings(threads=3).environment(threads=1)
    assert found["OPENBLAS_NUM_THREADS"] == "1"
    assert int(found["MPIEXEC_TIMEOUT"]) >= Settings().timeout


@pytest.mark.usefixtures("_mpi")
def test_ranks_are_measured_and_written(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    from benchmarking import ranks, running

    monkeypatch.setattr(ranks, "SMALL_PARTS", (1,))
    monkeypatch.setattr(ranks, "_OPERATIONS", 1e6)  # the fewest steps
    monkeypatch.setattr(ranks, "PRICE_ROUNDS", 2)
    sizes = {"networks": [(4,)], "batches": [64], "shards": [2]}
    running.run_ranks(Settings(1, pause=0.0, timeout=30.0), tmp_path, **sizes)
    report = json.loads((tmp_path / "ranks.json").read_text())
    (case,) = report["cases"]
    assert {len(rounds) for rounds in case["rounds"].values()} == {1}
    assert case["rounds"].keys() == {peer.name for peer in rank_peers((2,))}
    assert case["exact"].keys() == {"2-1", "2-2"}
    price = case["price_of_group"]
    least = [min(price["rounds"][name]) for name in ("with", "without")]
    assert {len(rounds) for rounds in price["rounds"].values()} == {2}
    assert price["least"] == least[0] / least[1]
    assert report["holds"] == (price["least"] <= ranks.LIMIT)
    assert [message["bytes"] for message in report["messages"]][::7] == [8, 16 << 20]
    (network,) = report["networks"]
    assert list(map(int, network["parts"])) == [1, 32]
    text = (tmp_path / "ranks.md").read_text()
    assert text in capsys.readouterr().out
    assert text.count("PREDICTED, not measured: 784-4-10") == 1
    assert (tmp_path / "ranks.png").read_bytes().startswith(b"\x89PNG")


def test_with_and_without_a_group_of_one_in_turn(monkeypatch):
    from benchmarking.peers import xpnet_ranks

    from xpnet.distributed import Group

    groups, told = [], []

    def noted(*arguments, group, **options):
        groups.append(group)
        return fit(*arguments, group=group, **options)

    monkeypatch.setattr(xpnet_ranks, "fit", noted)
    monkeypatch.setattr(xpnet_ranks, "mpi_group", Group)
    job = Task(Case((4,), 8), "synthetic", limit=16, epochs=5).load()
    xpnet_ranks.run_in_turn(job, told.append, threads=1)
    # The first warms up, and is left out.
    assert [group is not None for group in groups] == [True, False, True, False, True]
    assert len(told) == 5
    assert min(told) > 0


def test_what_a_group_of_one_costs_is_of_the_same_rounds(monkeypatch):
    from benchmarking import ranks

    def measured(case, peers, settings, say):
        (peer,) = peers
        assert (peer.ranks, peer.threads, settings.repeats) == (1, 1, 6)
        # Without and with, three times: one round is disturbed, which the least does not see.
        return {"price": Measured(peer, seconds=[2.0, 2.02, 8.0, 2.4, 2.0, 2.0])}

    monkeypatch.setattr(ranks, "PRICE_ROUNDS", 3)
    monkeypatch.setattr(ranks, "_measured", measured)
    found = ranks._price_of_group(Case((4,), 64), Settings(5), lambda text: None)
    assert found["rounds"] == {"without": [2.0, 8.0, 2.0], "with": [2.02, 2.4, 2.0]}
    assert found["least"] == 1.0
    assert found["ratio"] == pytest.approx([0.65, 1.0, 1.005])


@pytest.mark.parametrize(("least", "said"), [(1.02, False), (1.03, True)])
def test_a_group_of_one_that_is_slower_is_named(least, said):
    from benchmarking.rank_report import _price_lines

    price = {"ratio": [0.9, 1.1, 1.2], "least": least}
    lines = _price_lines([{"hidden": [4], "batch_size": 1024, "price_of_group": price}])
    assert f"| 784-4-10 | 1,024 | 1.1 (0.9 to 1.2) | {least} |" in lines
    assert ("784-4-10 at 1,024: one rank takes more than 1.02 times" in "\n".join(lines)) == said


@pytest.mark.usefixtures("_mpi")
def test_a_rank_that_fails_is_a_reason(monkeypatch):
    from benchmarking import ranks

    (peer,) = [peer for peer in rank_peers(()) if peer.name == "ranks-2"]
    broken = type(peer)("broken", "two ranks", "nosuch:run", ranks=2, threads=1)
    with pytest.raises(RuntimeError, match=r"two ranks cannot be measured .*nosuch is not inst"):
        ranks._measured(Case((4,), 64), [broken], Settings(1, timeout=30.0), lambda text: None)


# -- what the page says ---------------------------------------------------------------------------


def test_the_model_of_the_page_is_that_of_its_figures():
    """What is predicted for two ranks is the part and the message, near to what was measured."""
    text = page("docs/distributed.md")
    rows = re.findall(
        r"^\| (784[-\d]+) \| ([\d,]+)" + 5 * r" \| ([\d.]+)" + r" \|$",
        text,
        re.MULTILINE,
    )
    assert len(rows) == len(NETWORKS) * len(BATCHES)
    for _, _, *figures in rows:
        part, message, model, measured, over = map(float, figures)
        assert part + message == pytest.approx(model, rel=0.01)
        assert model / measured == pytest.approx(over, abs=0.02)
        assert 0.4 < over < 1.3


def test_the_links_of_the_page_are_those_of_the_model():
    text = page("docs/distributed.md")
    for link in LINKS:
        row = f"| {link.name} | {1e6 * link.latency:g} | {link.bandwidth / 1e9:g} | {link.source} |"
        assert row in text
