"""Logging that never blocks: a reader that stalls must not stall the process that renews the addresses."""

import logging
import os
from contextlib import suppress

from virtualip_agent.logs import NeverBlockingHandler


def test_a_log_that_nobody_reads_loses_lines_and_says_how_many_when_it_is_read_again() -> None:
    reader, writer = os.pipe()
    handler = NeverBlockingHandler(writer)
    log = logging.Logger("vrrp")
    log.addHandler(handler)

    for number in range(2000):
        log.warning("line %d of a log that nobody reads", number)
    assert handler.dropped > 0
    dropped = handler.dropped
    os.set_blocking(reader, False)
    with suppress(BlockingIOError):
        while os.read(reader, 65536):
            pass
    log.warning("read again")

    assert os.read(reader, 4096).decode() == f"read again ({dropped} lines before this were dropped)\n"
    os.close(reader)
    os.close(writer)


def test_a_line_of_any_length_fits() -> None:
    reader, writer = os.pipe()
    log = logging.Logger("vrrp")
    log.addHandler(NeverBlockingHandler(writer))

    log.warning("x" * 100_000)

    assert len(os.read(reader, 65536)) == 4001
    os.close(reader)
    os.close(writer)
