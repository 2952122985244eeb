"""Many datagrams with one system call, over loopback: what the kernel takes, and what it does not."""

import errno
import gc
import socket
from collections.abc import Iterator

import pytest

from virtualip_agent.realtime.batch import Batch

TOO_LONG = b"x" * 70_000


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    family: socket.AddressFamily = request.param
    with socket.socket(family, socket.SOCK_DGRAM) as sender, socket.socket(family, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        receiver.settimeout(5)
        yield sender, receiver


def heard(receiver: socket.socket, number: int) -> list[bytes]:
    return [receiver.recv(100) for _ in range(number)]


def test_each_is_sent_in_its_order_again_and_again(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair
    batch = Batch([(f"{number}".encode(), receiver.getsockname()) for number in range(100)])
    gc.collect()  # what it points to is its own
    for _ in range(3):
        assert batch.send(sender.fileno()) == []
        assert heard(receiver, 100) == [f"{number}".encode() for number in range(100)]


@pytest.mark.parametrize("refused", [{0}, {2}, {4}, {0, 1}, {1, 3, 4}, {0, 1, 2, 3, 4}])
def test_one_that_the_kernel_does_not_take_keeps_none_from_being_sent(
    pair: tuple[socket.socket, socket.socket], refused: set[int]
) -> None:
    sender, receiver = pair
    payloads = [TOO_LONG if number in refused else f"{number}".encode() for number in range(5)]
    failed = Batch([(payload, receiver.getsockname()) for payload in payloads]).send(sender.fileno())
    assert [(number, error.errno) for number, error in failed] == [
        (number, errno.EMSGSIZE) for number in sorted(refused)
    ]
    taken = [payload for payload in payloads if payload != TOO_LONG]
    assert heard(receiver, len(taken)) == taken


def test_a_batch_of_nothing_asks_nothing() -> None:
    assert Batch([]).send(-1) == []
