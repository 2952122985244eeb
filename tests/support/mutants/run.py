"""Makes one mutant in this process and lets the tests loose on it."""

import importlib.util
import io
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

import pytest

from mutants.catalogue import RFC, SIMULATOR, UNCHANGED, Mutant

_ROOT: Final = Path(__file__).parents[3]
_TESTS: Final = ("test_rfc9568.py", "test_rfc3768.py", "test_core_packet.py")
_PACKAGE: Final = "virtualip_agent.vrrp"
EPISODES: Final = range(1, 61)


class Stale(Exception):
    """The text to be mutated is not there (once): the catalogue is older than the core."""


def changed(mutant: Mutant) -> tuple[ModuleType, CodeType]:
    """The module, empty yet, and its changed code."""
    spec = importlib.util.find_spec(f"{_PACKAGE}.{mutant.module}")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text()
    if source.count(mutant.old) != 1:
        raise Stale(f"{mutant.name}: {source.count(mutant.old)} times in {mutant.module}.py: {mutant.old!r}")
    module = importlib.util.module_from_spec(spec)
    return module, compile(source.replace(mutant.old, mutant.new), spec.origin, "exec")


def mutate(mutant: Mutant) -> None:
    """Loads the module with its text changed, as the first import of it that this process does."""
    module, code = changed(mutant)
    assert module.__name__ not in sys.modules, f"{module.__name__} is there unchanged already"
    sys.modules[module.__name__] = module
    setattr(sys.modules[_PACKAGE], mutant.module, module)
    exec(code, module.__dict__)


class _First:
    """A plugin of pytest: the first test that failed."""

    failed = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid.rpartition("::")[2]


def killed_by_rfc() -> str:
    """The name of the first test of an RFC's sentence that fails."""
    first = _First()
    tests = [str(_ROOT / "tests/unit" / name) for name in _TESTS]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    with redirect_stdout(io.StringIO()):
        status = pytest.main([*options, "--rootdir", str(_ROOT), *tests], plugins=[first])
    assert (status == pytest.ExitCode.OK) is not bool(first.failed), f"pytest ended with {status}"
    return first.failed


def killed_by_simulator() -> str:
    """The first foul, and the number of its episode."""
    from simulator.episode import draw
    from simulator.play import play

    for seed in EPISODES:
        try:
            foul = play(draw(seed)).foul
        except Exception as error:  # a mutant may break anything
            foul = repr(error)
        if foul:
            return f"episode {seed}: {foul}"
    return ""


def killers(mutant: Mutant) -> dict[str, str]:
    """Who killed it, and how; '' where it lives on."""
    if mutant is not UNCHANGED:
        mutate(mutant)
    found = {RFC: killed_by_rfc()}
    found[SIMULATOR] = killed_by_simulator() if SIMULATOR in mutant.killers else "not asked"
    return found
