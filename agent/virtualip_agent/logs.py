"""Logging of the agent's processes, the same for all: to standard error, for people or for machines."""

import json
import logging
import os
import select
import time


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, with its traceback where it has one."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class NeverBlockingHandler(logging.Handler):
    """Writes to standard error where that takes it at once, and drops the line otherwise: a log reader that stalls must
    not stall the process that renews the addresses. What was dropped is said with the next line that goes through."""

    _LONGEST = 4000
    """A pipe that polls as writable takes PIPE_BUF (4096) bytes without blocking (pipe(7))."""

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """One line, or nothing."""
        try:
            if not any(event & select.POLLOUT for _, event in self._poll.poll(0)):
                self.dropped += 1
                return
            text = self.format(record)
            if self.dropped:
                text += f" ({self.dropped} lines before this were dropped)"
            os.write(self._descriptor, text.encode(errors="replace")[: self._LONGEST] + b"\n")
            self.dropped = 0
        except Exception:
            self.dropped += 1


def configure(process: str, log_format: str, level: str) -> None:
    """`process` is the command; `log_format` is text or json; `level` one of logging's names in lower case."""
    # on the one every address of the node hangs, on the other every tracker
    handler = NeverBlockingHandler() if process in ("vrrp", "control") else logging.StreamHandler()
    if log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s {process} %(levelname)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
