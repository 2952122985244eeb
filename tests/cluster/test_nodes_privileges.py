"""What the kernel of the nodes grants the running processes, held against deploy/base."""

from dataclasses import dataclass

import pytest

from hands import Hands
from house import House
from manifests import capabilities
from virtualip_agent.run_directory import GROUP_ID

pytestmark = [pytest.mark.nodes, pytest.mark.timeout(300)]

BITS = {"SETGID": 6, "SETUID": 7, "NET_ADMIN": 12, "NET_RAW": 13, "IPC_LOCK": 14, "SYS_NICE": 23}
"""capability.h."""
OPERATORS_ID = 64113
LOOK = """\
for process in /proc/[0-9]*; do
  words=$(tr '\\0' ' ' < $process/cmdline 2> /dev/null) || continue
  case "$words" in
    *virtualip-agent\\ *|*virtualip-operator\\ *|*virtualip_agent.control.spawner\\ *) ;;
    *) continue ;;
  esac
  echo "Words: $words"
  cat $process/status
  echo "Root: $(grep ' / / ' $process/mountinfo)"
  test -e $process/root/var/run/secrets/kubernetes.io/serviceaccount/token && echo "Token: yes"
  echo
done
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """A process, by /proc/PID/status and what else is there."""

    words: str
    fields: dict[str, str]

    def capabilities(self, which: str) -> set[str]:
        value = int(self.fields[f"Cap{which}"], 16)
        known = {name for name, bit in BITS.items() if value >> bit & 1}
        assert value == sum(1 << BITS[name] for name in known), f"{which}: {value:#x} has others than {known}"
        return known


@pytest.fixture(scope="module")
def processes(house: House) -> list[Seen]:
    """Ours on all nodes."""
    found: list[Seen] = []
    with Hands(house) as hands:
        for node in house.nodes:
            for text in hands.run(node, LOOK).split("\n\n"):
                pairs = (line.partition(":") for line in text.splitlines())
                fields = {key: value.strip() for key, _, value in pairs}
                if fields:
                    found.append(Seen(fields["Words"], fields))
    return found


def those(processes: list[Seen], word: str, house: House) -> list[Seen]:
    """The one of each node."""
    found = [process for process in processes if word in process.words]
    assert len(found) == len(house.nodes)
    return found


SPAWNER = "virtualip_agent.control.spawner"


@pytest.mark.parametrize(
    ("word", "container", "kept"),
    [
        ("virtualip-agent vrrp", "vrrp", capabilities("vrrp")),
        # control has given up what only its spawner needs
        ("virtualip-agent control", "control", ["NET_RAW"]),
        (SPAWNER, "control", capabilities("control")),
        ("virtualip-agent reporter", "reporter", []),
    ],
)
def test_each_process_has_these_capabilities(
    house: House, processes: list[Seen], word: str, container: str, kept: list[str]
) -> None:
    for process in those(processes, word, house):
        assert process.capabilities("Eff") == process.capabilities("Prm") == set(kept)
        assert process.capabilities("Bnd") == set(capabilities(container))
        assert process.capabilities("Inh") == process.capabilities("Amb") == set()


@pytest.mark.parametrize(
    ("word", "user"),
    [
        ("virtualip-agent vrrp", 0),
        ("virtualip-agent control", 0),
        (SPAWNER, 0),
        ("virtualip-agent reporter", GROUP_ID),
    ],
)
def test_each_process_is_this_user_and_of_the_shared_group(
    house: House, processes: list[Seen], word: str, user: int
) -> None:
    for process in those(processes, word, house):
        assert set(process.fields["Uid"].split()) == set(process.fields["Gid"].split()) == {str(user)}
        assert set(process.fields["Groups"].split()) - {str(user)} <= {str(GROUP_ID)}
        assert str(GROUP_ID) in {*process.fields["Groups"].split(), str(user)}


def test_nobody_of_ours_gains_privileges_escapes_seccomp_or_writes_to_its_root(processes: list[Seen]) -> None:
    assert {process.fields["NoNewPrivs"] for process in processes} == {"1"}
    assert {process.fields["Seccomp"] for process in processes} == {"2"}
    for process in processes:
        # ID PARENT DEVICE ROOT MOUNTPOINT OPTIONS
        assert "ro" in process.fields["Root"].split()[5].split(","), process.fields["Root"]


def test_only_reporter_and_operator_have_a_token(processes: list[Seen]) -> None:
    holders = {process.words.split()[-1].rpartition("/")[2] for process in processes if process.fields.get("Token")}
    assert holders == {"reporter", "virtualip-operator"}


def test_the_operator_is_nobody_special(processes: list[Seen]) -> None:
    operators = [process for process in processes if "virtualip-operator" in process.words]
    assert operators
    for process in operators:
        assert set(process.fields["Uid"].split()) == set(process.fields["Gid"].split()) == {str(OPERATORS_ID)}
        assert process.capabilities("Bnd") == process.capabilities("Prm") == set()
