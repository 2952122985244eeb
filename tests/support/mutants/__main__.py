"""A line of JSON for each mutant that was asked for: arguments, or `-` for names on standard input, or all.

What is the same for all (pytest, hypothesis: most of a second) is imported once; each mutant is a fork of that.
"""

import json
import os
import sys
from collections.abc import Iterable

import hypothesis.strategies  # noqa: F401

import virtualip_api.status  # noqa: F401
from mutants.catalogue import MUTANTS, UNCHANGED
from mutants.run import killers


def names() -> Iterable[str]:
    """What was asked for."""
    if sys.argv[1:] == ["-"]:
        return (line.rstrip("\n") for line in iter(sys.stdin.readline, ""))
    return sys.argv[1:] or [mutant.name for mutant in MUTANTS]


def main() -> None:
    """One after the other."""
    by_name = {mutant.name: mutant for mutant in (UNCHANGED, *MUTANTS)}
    for name in names():
        if child := os.fork():
            os.waitpid(child, 0)
            continue
        try:
            found = killers(by_name[name])
        except BaseException as error:
            found = {"error": repr(error)}
        print(json.dumps({"name": name} | found), flush=True)
        os._exit(0)


if __name__ == "__main__":
    main()
