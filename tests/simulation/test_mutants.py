"""Do the tests of the RFCs' sentences and the simulator find mistakes? Each is made on purpose once: all must be found.

`python -m mutants` prints who killed which. See tests/support/mutants.
"""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mutants.catalogue import MUTANTS, Mutant
from mutants.run import Stale, changed

Nursery = subprocess.Popen[str]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with subprocess.Popen(
        [sys.executable, "-m", "mutants", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_it_is_killed(nursery: Nursery, mutant: Mutant) -> None:
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    print(mutant.name, file=nursery.stdin, flush=True)
    found = json.loads(nursery.stdout.readline())
    print(found)
    assert found.get("error") is None
    assert [killer for killer in mutant.killers if not found[killer]] == []


def test_nobody_kills_the_core_as_it_is(nursery: Nursery) -> None:
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    print("none", file=nursery.stdin, flush=True)
    found = json.loads(nursery.stdout.readline())
    assert found == {"name": "none", "rfc": "", "simulator": ""}


def test_a_catalogue_that_is_older_than_the_core_is_noticed() -> None:
    with pytest.raises(Stale, match="0 times in timing"):
        changed(Mutant("old", "timing", "what is not there", ""))


def test_no_two_mutants_have_a_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 15
