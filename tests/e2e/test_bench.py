"""The arithmetic of tests/bench: what it makes of rounds, of others' work, of wrk's words and of draws."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

import guard  # noqa: E402
import load  # noqa: E402
import peers  # noqa: E402

pytestmark = pytest.mark.stores("off")


def measured(rate, p50=1, p99=2, dirty=False):
    return {"rate": rate, "p50": p50, "p99": p99, "dirty": dirty}


def test_a_ratio_is_the_median_of_the_rounds_own():
    rounds = [{"bare": measured(100), "gate": measured(90)}, {"bare": measured(50), "gate": measured(49)},
              {"bare": measured(200), "gate": measured(100, dirty=True)}]
    found = load.summary(rounds, "gate")
    assert found["ratio"] == 0.9 and found["median"] == 90 and (found["min"], found["max"]) == (49, 100) and found["dirty"] == 1


def test_a_round_is_dirty_by_what_others_used():
    tick = load.TICK
    assert not load.is_dirty(busy=2 * tick, ours=2 * tick, seconds=1, processors=2)
    assert not load.is_dirty(busy=2 * tick, ours=2 * tick - 0.07 * tick, seconds=1, processors=2)
    assert load.is_dirty(busy=2 * tick, ours=2 * tick - 0.09 * tick, seconds=1, processors=2)


def test_what_wrk_says_is_read():
    text = 'Running 1s test\n{"requests": 300, "us": 1500000, "bytes": 9, "errors": 0, "p50": 10, "p99": 20}\n'
    assert load.parse(text)["rate"] == 200
    with pytest.raises(ValueError):
        load.parse("unable to connect")


def test_a_draw_follows_its_weights():
    drawn = load.Zipf(10).draw(20_000, seed=1)
    first, second, last = (drawn.count(k) for k in (0, 1, 9))
    assert set(drawn) == set(range(10))
    assert 1.8 < first / second < 2.2 and 8.5 < first / last < 11.8


def test_instructions_are_judged_both_ways():
    assert guard.judged("x", 1029, 1000)[0] and guard.judged("x", 971, 1000)[0]
    assert not guard.judged("x", 1031, 1000)[0] and not guard.judged("x", 969, 1000)[0] and not guard.judged("x", 1, None)[0]


def test_a_purpose_has_the_hash_that_tokens_have():
    assert peers.purpose_hash("") == 0x811c ^ 0x9dc5
    assert peers.purpose_hash("a") == 0xe40c ^ 0x292c
