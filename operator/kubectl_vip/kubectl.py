"""kubectl itself does the talking: the user's contexts, credentials and proxies are its own, whatever they are."""

import json
import re
import subprocess
from collections.abc import Sequence
from typing import Any, Final

import click

_PATIENCE: Final = 30.0
_LOG_LINE: Final = re.compile(r"[IWEF]\d{4} ")
"""How a line of kubectl's own log begins: where it cannot connect there are several before what it has to say."""


class KubectlFailed(click.ClickException):
    """It could not do what it was asked; the message is its own."""


class Kubectl:
    """Runs kubectl with the same flags each time."""

    def __init__(self, flags: Sequence[str] = ()) -> None:
        self._flags = tuple(flags)

    def run(self, *words: str) -> str:
        """What it printed; KubectlFailed where it did not end well, or not within half a minute."""
        try:
            done = subprocess.run(
                ["kubectl", *self._flags, *words],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise KubectlFailed("kubectl is not in PATH") from None
        except subprocess.TimeoutExpired:
            raise KubectlFailed(f"kubectl {words[0]}: no answer within {_PATIENCE:.0f} s") from None
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line and not _LOG_LINE.match(line)]
            raise KubectlFailed("\n".join(said) or f"kubectl {words[0]}: exit status {done.returncode}")
        return done.stdout

    def get(self, *words: str) -> dict[str, Any]:
        """One object, or a list of them."""
        found: dict[str, Any] = json.loads(self.run("get", *words, "-o", "json"))
        return found
