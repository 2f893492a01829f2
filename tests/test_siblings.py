"""data.experiments.siblings: how a reward orders the programs of one picture."""
import pytest

from data.experiments.siblings import interval, right


def rows(*pictures):
    """One row a program: pictures of (fidelity, reward) each."""
    return [{"picture": k, "fidelity": truth, "reward": said}
            for k, programs in enumerate(pictures) for truth, said in programs]


@pytest.mark.parametrize("pictures, expected", [
    ([[(90, 3), (50, 2), (10, 1)]], [(3, 3)]),
    ([[(90, 1), (50, 2), (10, 3)]], [(0, 3)]),
    ([[(90, 1), (50, 1)]], [(0.5, 1)]),  # a tie is half right
    ([[(90, 1), (90, 2)]], [(0, 0)]),  # nothing to order
    ([[(90, -2), (50, -1e9)], [(20, 5), (30, 4)]], [(1, 1), (0, 1)]),
])
def test_pairs_in_the_order_of_fidelity(pictures, expected):
    assert right(rows(*pictures), "reward") == expected


def test_the_interval_is_over_pictures():
    assert interval([(1.0, 1)] * 50) == "1.00 [1.00, 1.00]"
    share, low, high = (float(word.strip("[],")) for word in interval(
        [(1.0, 1)] * 50 + [(0.0, 1)] * 50).split())
    assert share == 0.5 and 0.35 < low < 0.45 < 0.55 < high < 0.65
