"""Random and mutated packets at the receive path; `make fuzz PACKETS=1000000` is the same for longer."""

import random

from fuzz.bench_engine import BenchEngine
from fuzz.packets import draw, may_count
from fuzz.run import fuzz


def test_no_packet_raises_none_that_is_invalid_changes_anything_and_every_one_is_counted_once() -> None:
    tally = fuzz(50_000, 1)
    print(tally)
    assert tally.accepted > 10_000
    assert tally.transitions > 100
    assert set(tally.drops) >= {
        "drop_ttl", "drop_length", "drop_version", "drop_type", "drop_checksum", "drop_vrid", "drop_no_addresses",
        "drop_zero_interval", "drop_authentication", "drop_interval", "drop_own_address", "drop_destination",
    }  # fmt: skip


def test_the_packets_are_repeatable_and_of_both_kinds() -> None:
    first, again = random.Random(7), random.Random(7)
    packets = [draw(first) for _ in range(500)]
    assert packets == [draw(again) for _ in range(500)]
    assert 100 < sum(map(may_count, packets)) < 400


def test_a_valid_packet_is_noticed_so_the_look_at_the_state_can_tell() -> None:
    bench, rng = BenchEngine(), random.Random(7)
    packet = next(packet for packet in iter(lambda: draw(rng), None) if may_count(packet))
    before = bench.snapshot()
    bench.receive([packet])
    assert bench.snapshot() != before
