"""Short commands, run to their end; what a command said goes into the error."""

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from barecluster.errors import ClusterError

Word = str | int | Path


def run(
    *command: Word,
    stdin: str | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 120.0,
) -> str:
    """Runs a command and returns its standard output.

    Raises ClusterError with its standard error when it fails, is missing or takes longer than timeout (seconds).
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, input=stdin, cwd=cwd, env=environment, timeout=timeout, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{shlex.join(words)}: still running after {timeout:g} s") from error
    if done.returncode:
        raise ClusterError(f"{shlex.join(words)}: exit status {done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def in_namespace(namespace: str | None, command: Sequence[Word]) -> list[str]:
    """The same command, in a named network namespace (None: where we are).

    Not `ip netns exec`: that mounts a new /sys and so loses the cgroup mounts.
    """
    words = [str(word) for word in command]
    return ["nsenter", f"--net=/run/netns/{namespace}", *words] if namespace else words
