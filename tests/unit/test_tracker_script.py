"""Scripts, harmless and hostile, by the real spawner. What they may and may not do is asked of the kernel."""

import asyncio
import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tried import Tried
from virtualip_agent.control import spawner_kernel as kernel
from virtualip_agent.control.spawner_client import Spawner, SpawnerProcess
from virtualip_agent.control.spawner_policy import Policy, Refused, executable
from virtualip_agent.control.trackers.base import Check, Origin
from virtualip_agent.control.trackers.script import RunningScriptTracker
from virtualip_api.duration import MILLISECOND
from virtualip_api.trackers import ScriptTracker

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else needs root")

NOBODY = 65534
CLONE_NEWNS = 0x20000


@pytest.fixture
def scripts() -> Iterator[Path]:
    """An allowed directory that nobody may read."""
    directory = Path(tempfile.mkdtemp(prefix="scripts-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


class House:
    """A spawner, and what it started."""

    def __init__(self, process: SpawnerProcess) -> None:
        self.process = process
        self.deaths = 0
        self.spawner = Spawner(process.channel, self._died)

    def _died(self) -> None:
        self.deaths += 1

    def tried(self, *command: object, timeout: int = 5000, interval: int = 100, **fields: Any) -> Tried:
        check = ScriptTracker(
            tuple(map(str, command)), interval=interval * MILLISECOND, timeout=timeout * MILLISECOND, **fields
        )
        origin = Origin("web", "check")
        return Tried(lambda report: RunningScriptTracker(check, report, self.spawner, origin))

    async def once(self, *command: object, **fields: Any) -> Check:
        """The first result."""
        async with self.tried(*command, **fields) as tried:
            result = await tried.first()
            assert isinstance(result, Check)
            return result

    def family(self) -> list[int]:
        """The spawner's descendants."""
        return kernel.descendants(kernel.children(self.process.process.pid))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while not condition():  # noqa: ASYNC110 -- other processes send us no event
                await asyncio.sleep(0.01)

    async def until_nothing_is_left(self) -> None:
        await self.until(lambda: not self.family())


@contextlib.asynccontextmanager
async def house_of(policy: Policy) -> AsyncIterator[House]:
    process = SpawnerProcess(policy)
    house = House(process)
    try:
        yield house
        if not house.deaths:
            await house.until_nothing_is_left()  # neither processes nor zombies
    finally:
        house.spawner.close()
        process.close()


@pytest.fixture
async def house(scripts: Path) -> AsyncIterator[House]:
    async with house_of(Policy((str(scripts),))) as one:
        yield one


@pytest.fixture
def script(scripts: Path) -> Callable[..., Path]:
    """Writes a shell script, as root, for everybody to run."""

    def write(body: str, name: str = "check.sh", mode: int = 0o755) -> Path:
        path = scripts / name
        new = scripts / f"{name}.new"
        new.write_text(f"#!/bin/sh\n{body}\n")
        new.chmod(mode)
        new.rename(path)
        return path

    return write


Script = Callable[..., Path]


async def test_more_capabilities_than_net_raw_are_the_agents_own_configuration_to_allow(
    scripts: Path, script: Callable[..., Path]
) -> None:
    path = script("grep CapEff /proc/self/status")
    asked = ("NET_RAW", "NET_ADMIN")
    async with house_of(Policy((str(scripts),))) as house:
        refused = await house.once(path, capabilities=asked)
        assert refused.message == "refused: the agent's configuration does not allow scripts the capability NET_ADMIN"
    async with house_of(Policy((str(scripts),), capabilities=asked)) as house:
        assert (await house.once(path, capabilities=asked)).message.endswith("0000000000003000")
        assert (await house.once(path)).message.endswith("0000000000000000")


# ---- results


async def test_s6_exit_0_is_success_and_its_last_line_is_told(house: House, script: Script) -> None:
    assert await house.once(script("echo first; echo '  all is well  '; echo")) == Check(
        True, "exit code 0: all is well"
    )


async def test_s6_anything_else_is_failure(house: House, script: Script) -> None:
    assert await house.once(script("echo broken >&2; exit 3")) == Check(False, "exit code 3: broken")
    assert await house.once(script("kill -KILL $$")) == Check(False, "ended by SIGKILL")


async def test_s6_three_failures_in_a_row_fail_and_three_successes_heal(
    house: House, script: Script, scripts: Path
) -> None:
    (scripts / "good").touch()
    path = script(f"test -e {scripts}/good")
    async with house.tried(path, rise=3, fall=3) as tried:
        await tried.becomes(True)
        (scripts / "good").unlink()
        before = tried.reports
        await tried.becomes(False)
        assert tried.reports - before >= 3
        (scripts / "good").touch()
        before = tried.reports
        await tried.becomes(True)
        assert tried.reports - before >= 3


async def test_before_the_first_result_nothing_is_reported(house: House, script: Script, scripts: Path) -> None:
    os.mkfifo(scripts / "gate")
    async with house.tried(script(f"read line < {scripts}/gate")) as tried:
        await asyncio.sleep(0.3)
        assert tried.results == []
        (scripts / "gate").write_text("go\n")
        await tried.becomes(True)


async def test_init_fail_is_reported_at_once_and_takes_rise_successes(house: House, script: Script) -> None:
    async with house.tried(script("exit 0"), init_fail=True, rise=2) as tried:
        assert tried.results == [Check(False, "not run yet")]
        await tried.becomes(True)
        assert tried.reports == 3


# ---- who it is


async def test_s7_it_runs_as_nobody_with_no_group_and_no_capability(house: House, script: Script) -> None:
    path = script(
        "grep -E '^(Uid|Gid|Groups|Cap(Prm|Eff|Inh|Amb)|NoNewPrivs):' /proc/self/status | tr -s '\\t\\n ' ' '"
    )
    none = "0000000000000000"
    assert (await house.once(path)).message == (
        "exit code 0: Uid: 65534 65534 65534 65534 Gid: 65534 65534 65534 65534 Groups: "
        f"CapInh: {none} CapPrm: {none} CapEff: {none} CapAmb: {none} NoNewPrivs: 1"
    )


async def test_s7_net_raw_is_given_where_it_is_asked_for_and_nothing_else(house: House, script: Script) -> None:
    path = script("grep CapEff /proc/self/status")
    assert (await house.once(path, capabilities=("NET_RAW",))).message.endswith("0000000000002000")
    assert (await house.once(path, user="daemon")).message.endswith("0000000000000000")


async def test_s7_root_is_refused_unless_it_is_allowed_and_then_has_no_capability(
    house: House, script: Script, scripts: Path
) -> None:
    path = script("grep -h -E '^(Uid|CapEff|CapPrm):' /proc/self/status | tr -s '\\t\\n ' ' '")
    for root in ("root", "0"):
        refusal = f"refused: the agent's configuration does not allow scripts as {root}"
        assert await house.once(path, user=root) == Check(False, refusal)
    async with house_of(Policy((str(scripts),), root=True)) as other:
        none = "0000000000000000"
        assert (await other.once(path, user="root")).message == (
            f"exit code 0: Uid: 0 0 0 0 CapPrm: {none} CapEff: {none}"
        )


async def test_a_user_who_does_not_exist_is_refused(house: House, script: Script) -> None:
    assert (await house.once(script("exit 0"), user="nemo")).message == "refused: there is no user nemo"


async def test_the_environment_is_what_is_documented(house: House, script: Script) -> None:
    path = script("exec env | sort | grep -v '^PWD=\\|^_=\\|^SHLVL=\\|^OLDPWD=' | tr '\\n' ' '; pwd")
    message = (await house.once(path, env=(("TARGET", "192.0.2.1"),))).message
    assert message.startswith("exit code 0: PATH=/usr/local/sbin:")
    assert "TARGET=192.0.2.1 VIRTUALIP_NAME=web VIRTUALIP_TRACKER=check" in message
    assert "HOME" not in message


async def test_it_has_no_descriptor_of_ours_and_no_terminal(house: House, script: Script) -> None:
    message = (await house.once(script("ls /proc/self/fd | tr '\\n' ' '"))).message
    assert message == "exit code 0: 0 1 2 3"  # 3 is ls's own directory


async def test_arguments_are_no_shells(house: House, script: Script) -> None:
    assert (await house.once(script('echo "$#:$1"'), "a b; $(id)")).message == "exit code 0: 1:a b; $(id)"


# ---- what may run


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
async def test_one_that_others_may_write_is_refused(house: House, script: Script, mode: int) -> None:
    path = script("exit 0", mode=mode)
    assert (await house.once(path)).message == f"refused: {path} can be written by others than root"


async def test_one_of_somebody_elses_is_refused(house: House, script: Script) -> None:
    path = script("exit 0")
    os.chown(path, NOBODY, NOBODY)
    assert (await house.once(path)).message == f"refused: {path} does not belong to root"


async def test_one_in_a_directory_that_others_may_write_is_refused(house: House, script: Script, scripts: Path) -> None:
    path = script("exit 0")
    os.chmod(scripts, 0o777)
    assert (await house.once(path)).message == f"refused: {scripts} can be written by others than root"


async def test_a_path_that_leads_out_of_the_directory_is_refused(house: House, scripts: Path) -> None:
    link = scripts / "link"
    link.symlink_to("/bin/true")
    for path in ("/bin/true", link, f"{scripts}/../{scripts.name}/link", f"{scripts}2/x"):
        result = await house.once(path)
        assert not result.passed
        assert result.message.startswith("refused: ")


async def test_a_link_within_the_directory_is_followed(house: House, script: Script, scripts: Path) -> None:
    (scripts / "current").symlink_to(script("echo linked"))
    assert (await house.once(scripts / "current")).message == "exit code 0: linked"


async def test_one_that_is_not_there_not_executable_or_no_file_is_refused(
    house: House, script: Script, scripts: Path
) -> None:
    (scripts / "directory").mkdir()
    for path in (scripts / "none", script("exit 0", mode=0o644), scripts / "directory"):
        assert (await house.once(path)).message.startswith("refused: ")


async def test_one_whose_interpreter_is_missing_is_a_failure_with_a_message(house: House, scripts: Path) -> None:
    path = scripts / "odd"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    assert (await house.once(path)).message == "cannot be run: No such file or directory"


async def test_one_that_changes_its_own_mode_cannot_as_nobody_and_as_root_is_refused_from_then_on(
    house: House, script: Script, scripts: Path
) -> None:
    path = script("chmod 777 $0")
    assert not (await house.once(path)).passed
    assert path.stat().st_mode & 0o777 == 0o755
    async with house_of(Policy((str(scripts),), root=True)) as other, other.tried(path, user="root") as tried:
        assert "can be written by others" in await tried.becomes(False)


async def test_without_the_privilege_it_says_so(scripts: Path, script: Script) -> None:
    path = script("exit 0")
    process = await asyncio.to_thread(_unprivileged_spawner, str(scripts))
    house = House(process)
    result = await house.once(path)
    house.spawner.close()
    process.close()
    assert result == Check(False, "refused: the agent may not run scripts: it lacks the capabilities SETUID and SETGID")


def _unprivileged_spawner(directory: str) -> SpawnerProcess:
    """Of a parent that gave up SETUID and SETGID, where no execve gains them (allowPrivilegeEscalation: false). In a
    thread of its own: both are the thread's."""
    kernel.set_capabilities(kernel.permitted() & ~(1 << kernel.CAP_SETUID | 1 << kernel.CAP_SETGID))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    return SpawnerProcess(Policy((directory,)))


# ---- in the host's root, from a container that has it mounted


def _spawner_in(root: Path, scripts: Path, without: int = 0, proc: bool = True) -> SpawnerProcess:
    """Of a parent that sees that root as a container sees the host's: mounted, in a mount namespace of its own. In a
    thread of its own: namespace and capabilities are the thread's."""
    assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for name in ("usr", "dev", *(["proc"] if proc else [])):
        subprocess.run(["mount", "--rbind", f"/{name}", root / name], check=True)
    if without:
        kernel.set_capabilities(kernel.permitted() & ~(1 << without))
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    return SpawnerProcess(Policy((str(scripts),), root_directory=str(root)))


@pytest.fixture
def host_root(scripts: Path) -> Path:
    """Where a host's root is mounted: its users, a script, and a program that only it has."""
    root = scripts / "host"
    for name in ("usr", "proc", "dev", "etc/virtualip/scripts", "opt"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc/passwd").write_text(
        "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nwatcher:x:4711:4712::/:\n"
    )
    for path, body in {"opt/answer": "echo 42", "etc/virtualip/scripts/check.sh": "/opt/answer"}.items():
        (root / path).write_text(f"#!/bin/sh\n{body}\n")
        (root / path).chmod(0o755)
    return root


SCRIPTS = Path("/etc/virtualip/scripts")


@contextlib.asynccontextmanager
async def house_in(root: Path, **how: Any) -> AsyncIterator[House]:
    process = await asyncio.to_thread(_spawner_in, root, SCRIPTS, **how)
    house = House(process)
    try:
        yield house
        await house.until_nothing_is_left()
    finally:
        house.spawner.close()
        process.close()


async def test_a_script_sees_the_hosts_files_programs_and_users(host_root: Path) -> None:
    who = host_root / "etc/virtualip/scripts/who.sh"
    who.write_text("#!/bin/sh\ngrep -hE '^(Uid|Gid|CapEff):' /proc/self/status | tr -s '\\t\\n' ' '\n")
    who.chmod(0o755)
    async with house_in(host_root) as house:
        assert await house.once(SCRIPTS / "check.sh") == Check(True, "exit code 0: 42")
        assert (await house.once(SCRIPTS / "who.sh", user="watcher")).message == (
            "exit code 0: Uid: 4711 4711 4711 4711 Gid: 4712 4712 4712 4712 CapEff: 0000000000000000"
        )
        assert (await house.once(SCRIPTS / "who.sh", user="nemo")).message == "refused: there is no user nemo"


async def test_no_link_leads_out_of_the_hosts_root(host_root: Path, scripts: Path) -> None:
    outside = scripts / "outside.sh"
    outside.write_text("#!/bin/sh\necho outside\n")
    outside.chmod(0o755)
    here = host_root / "etc/virtualip/scripts"
    (here / "absolute").symlink_to(outside)
    (here / "climbs").symlink_to(f"{'../' * 12}{str(outside).lstrip('/')}")
    (here / "other").symlink_to("/opt/answer")
    async with house_in(host_root) as house:
        for name in ("absolute", "climbs"):
            assert (await house.once(SCRIPTS / name)).message == f"refused: {SCRIPTS / name} does not exist"
        assert (await house.once(SCRIPTS / "other")).message == (
            f"refused: {SCRIPTS / 'other'} is not in {SCRIPTS} (it leads to /opt/answer)"
        )


async def test_in_the_hosts_root_each_directory_on_the_way_must_be_roots(host_root: Path) -> None:
    (host_root / "etc/virtualip").chmod(0o777)
    async with house_in(host_root) as house:
        assert (await house.once(SCRIPTS / "check.sh")).message == (
            "refused: /etc/virtualip can be written by others than root"
        )


async def test_without_the_capability_it_says_so(host_root: Path) -> None:
    async with house_in(host_root, without=kernel.CAP_SYS_CHROOT) as house:
        assert (await house.once(SCRIPTS / "check.sh")).message == (
            f"refused: the agent may not run scripts in {host_root}: it lacks the capability SYS_CHROOT"
        )


async def test_without_the_hosts_processes_it_says_so(host_root: Path) -> None:
    async with house_in(host_root, proc=False) as house:
        assert (await house.once(SCRIPTS / "check.sh")).message == (
            f"refused: scripts cannot run in {host_root}: its /proc does not show the agent's processes (hostPID)"
        )


# ---- time and what is left behind


async def test_s6_one_over_its_time_is_ended_and_has_failed(house: House, script: Script) -> None:
    began = time.monotonic()
    assert await house.once(script("sleep 1000"), timeout=300) == Check(False, "timed out after 0.3s")
    assert time.monotonic() - began < 3


async def test_one_that_ignores_sigterm_is_killed(house: House, script: Script) -> None:
    async with house.tried(script("trap '' TERM; while :; do sleep 1; done"), timeout=300) as tried:
        assert await tried.first() == Check(False, "timed out after 0.3s")
        (family,) = [house.family()]
        await house.until(lambda: not any(map(alive, family)))


async def test_one_that_forks_away_by_sessions_and_double_forks_leaves_nothing(house: House, script: Script) -> None:
    body = "setsid sh -c 'trap \"\" TERM; (sleep 1000 &) ; sleep 1000' & \n (setsid sleep 1000 &) \n echo away"
    async with house.tried(script(body)) as tried:
        assert await tried.first() == Check(True, "exit code 0: away")
        await tried.more_reports(2)
        # a run and what it left are gone before the next begins
        assert len(house.family()) <= 9


async def test_never_two_at_once(house: House, script: Script, scripts: Path) -> None:
    scripts.joinpath("run").mkdir()
    os.chown(scripts / "run", NOBODY, NOBODY)
    body = f"mkdir {scripts}/run/lock || exit 9; trap '' TERM; sleep 0.35; rmdir {scripts}/run/lock"
    async with house.tried(script(body), timeout=1000) as tried:
        await tried.more_reports(4)
        assert tried.results == [Check(True, "exit code 0")]


async def test_one_that_prints_for_ever_costs_neither_memory_nor_much_time(house: House, script: Script) -> None:
    began = time.process_time(), os.times().children_user
    async with house.tried(script("yes 0123456789012345678901234567890123456789"), timeout=1000) as tried:
        await house.until(lambda: len(house.family()) >= 2)
        assert await tried.first() == Check(False, "timed out after 1s")
        assert max(map(resident, house.family()), default=0) < 40 << 20
    assert time.process_time() - began[0] < 0.5
    await house.until_nothing_is_left()


async def test_one_that_writes_gigabytes_into_a_file_is_ended_at_16_mib(
    house: House, script: Script, scripts: Path
) -> None:
    target = scripts / "run"
    target.mkdir()
    os.chown(target, NOBODY, NOBODY)
    result = await house.once(script(f"exec head -c 4G /dev/zero > {target}/big"), timeout=20_000)
    assert not result.passed
    assert (target / "big").stat().st_size == 16 << 20


@pytest.fixture
def python(scripts: Path) -> Callable[[str], Path]:
    """Writes a Python script likewise."""

    def write(body: str) -> Path:
        path = scripts / "check.py"
        path.write_text(f"#!/usr/bin/python3 -IS\n{body}\n")
        path.chmod(0o755)
        return path

    return write


async def test_one_that_takes_much_memory_is_refused_it(house: House, script: Script) -> None:
    result = await house.once(script("exec head -c 2G /dev/zero | tail -c 1G > /dev/null; exit $?"), timeout=30_000)
    assert result == Check(False, "exit code 1: tail: memory exhausted")


async def test_address_space_that_is_only_reserved_is_free_and_what_is_taken_of_it_counts(
    house: House, python: Callable[[str], Path]
) -> None:
    """As Go, Java and others do: kubectl, etcdctl and crictl are Go, and a check of the API server may well be one."""
    path = python(
        """
import ctypes, sys
MEBIBYTE, NONE, READ_WRITE, PRIVATE_ANONYMOUS = 1 << 20, 0, 3, 0x22
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
reserved = libc.mmap(None, 100 << 30, NONE, PRIVATE_ANONYMOUS, -1, 0)
assert reserved != ctypes.c_void_p(-1).value, "not reserved"
assert libc.mprotect(reserved, int(sys.argv[1]) * MEBIBYTE, READ_WRITE) == 0, "not given"
ctypes.memset(reserved, 1, 100 * MEBIBYTE)
print("done")
"""
    )
    assert await house.once(path, 256) == Check(True, "exit code 0: done")
    assert await house.once(path, 512) == Check(False, "exit code 1: AssertionError: not given")


@pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go program at hand")
async def test_a_go_program_runs(house: House, script: Script) -> None:
    result = await house.once(script(f"exec {shutil.which('go')} version"), env=(("HOME", "/tmp"),), timeout=30_000)
    assert result.passed, result.message


async def test_it_is_the_first_to_go_when_memory_is_short_unless_control_went_with_it(
    house: House, script: Script
) -> None:
    expected = "1000"
    if kernel.ended_together(kernel.own_cgroup()):
        expected = Path("/proc/self/oom_score_adj").read_text().strip()  # noqa: ASYNC240
    assert (await house.once(script("cat /proc/self/oom_score_adj"))).message == f"exit code 0: {expected}"


def test_whether_a_cgroup_is_ended_as_a_whole_is_its_own_or_a_higher_ones_to_say(tmp_path: Path) -> None:
    def say(cgroup: str, value: str) -> None:
        directory = tmp_path / cgroup
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "memory.oom.group").write_text(f"{value}\n")

    def together(cgroup: str) -> bool:
        return kernel.ended_together(cgroup, str(tmp_path))

    say("pods/pod1", "0")  # the root of the whole tree has no such file
    say("pods/pod1/control", "1")
    say("pods/pod2", "1")
    say("pods/pod2/control", "0")
    assert not together("/")
    assert not together("/pods/pod1")
    assert together("/pods/pod1/control")
    assert together("/pods/pod2/control")
    say("", "1")  # a container's own, of which it sees nothing above
    assert together("/")


async def test_output_is_one_short_printable_line(house: House, script: Script) -> None:
    message = (await house.once(script("printf 'a\\033[31m\\000\\377%0500d' 7"))).message
    assert message.startswith("exit code 0: ")
    assert message.isprintable()
    assert len(message) < 250


async def test_one_that_kills_its_own_minder_is_swept_away(house: House, script: Script) -> None:
    path = script("setsid sleep 1000 & setsid sleep 1000 & kill -KILL $PPID; sleep 1000")
    async with house.tried(path) as tried:
        assert await tried.first() == Check(False, "the process that watched it was killed")
    await house.until_nothing_is_left()


NO_PROCESS_FOR_A_WHILE = """
import errno, os, runpy, sys
spawner, fork, calls = os.getpid(), os.fork, iter(range(1000))

def fork_or_not():
    # 0 is the minder's own; then comes who sweeps up after it
    if os.getpid() == spawner and 1 <= next(calls) <= 3:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()

os.fork = fork_or_not
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


async def test_where_no_process_is_to_be_had_it_is_swept_away_later(
    scripts: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script may leave a fork bomb and kill its minder. (Root's own processes no limit stops: the error is made.)"""
    python = scripts / "python"
    python.write_text(f"#!{sys.executable}\n{NO_PROCESS_FOR_A_WHILE}")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    async with house_of(Policy((str(scripts),))) as house:
        path = script("setsid sleep 1000 & kill -KILL $PPID; sleep 1000")
        async with house.tried(path, interval=10_000) as tried:
            assert await tried.first() == Check(False, "the process that watched it was killed")
            assert not house.family()
        assert await house.once(script("exit 0", name="other.sh")) == Check(True, "exit code 0")
        assert not house.deaths


NOTHING_ENDS_FOR_A_WHILE = """
import os, runpy, sys
stuck, sweeps = sys.argv[0] + ".stuck", sys.argv[0] + ".sweeps"
kill, killpg, fork, spawner = os.kill, os.killpg, os.fork, os.getpid()

def unless_stuck(end):
    return lambda pid, number: None if os.path.exists(stuck) else end(pid, number)

def fork_and_count():
    pid = fork()
    if pid and os.getpid() == spawner:
        with open(sweeps, "a") as file:
            file.write("+")
    return pid

os.kill, os.killpg, os.fork = unless_stuck(kill), unless_stuck(killpg), fork_and_count
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


async def test_what_a_killed_minder_has_left_and_does_not_end_keeps_no_other_script_from_running(
    scripts: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one in the kernel's state D: no signal ends it before its disk answers."""
    python, stuck, sweeps = (scripts / name for name in ("python", "python.stuck", "python.sweeps"))
    python.write_text(f"#!{sys.executable}\n{NOTHING_ENDS_FOR_A_WHILE}")
    python.chmod(0o755)
    stuck.touch()
    monkeypatch.setattr(sys, "executable", str(python))
    async with house_of(Policy((str(scripts),))) as house:
        path = script("setsid sleep 1000 & kill -KILL $PPID; sleep 1000")
        async with house.tried(path, interval=10_000) as tried:
            await house.until(lambda: sweeps.exists() and len(sweeps.read_text()) > 2)
            began, before = time.monotonic(), len(sweeps.read_text())
            for number in range(8):
                other = script("exit 0", name=f"other{number}.sh")
                assert await house.once(other) == Check(True, "exit code 0")
            # a fork for each of these runs, and one every 100 ms
            assert len(sweeps.read_text()) - before <= 8 + (time.monotonic() - began) / 0.1 + 1
            assert not tried.results
            stuck.unlink()
            assert await tried.first() == Check(False, "the process that watched it was killed")
            assert not house.family()
        assert not house.deaths


@pytest.mark.parametrize("look", [2, 3])
async def test_one_that_is_removed_while_it_is_looked_at_is_refused(
    script: Script, scripts: Path, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    """By `rm` and `cp` in the place of an atomic rename."""
    path = script("exit 0")
    looks, lstat = itertools.count(1), os.lstat

    def lstat_and_remove(looked_at: str) -> os.stat_result:
        if looked_at == str(path) and next(looks) == look:
            path.unlink()
        return lstat(looked_at)

    monkeypatch.setattr(os, "lstat", lstat_and_remove)
    with pytest.raises(Refused, match="does not exist"):
        executable(str(path), Policy((str(scripts),)))


MANY_THREADS = f"""
import os, threading
os.setgid({NOBODY}); os.setuid({NOBODY})
threading.stack_size(65536)
done = threading.Event()
for _ in range(600):
    threading.Thread(target=done.wait, daemon=True).start()
print("there", flush=True)
done.wait()
"""


async def test_what_others_run_on_the_node_as_the_same_user_does_not_count(house: House, script: Script) -> None:
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", MANY_THREADS, stdout=asyncio.subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert await other.stdout.readline() == b"there\n"
        assert await house.once(script("/bin/true && echo forked")) == Check(True, "exit code 0: forked")
    finally:
        other.kill()
        await other.wait()


async def test_one_with_more_than_512_processes_is_ended_and_has_failed(house: House, script: Script) -> None:
    body = "i=0; while [ $i -lt 600 ]; do sleep 1000 & i=$((i + 1)); done; wait"
    async with house.tried(script(body), timeout=60_000) as tried:
        assert await tried.first() == Check(False, "has more than 512 processes")
    await house.until_nothing_is_left()


async def test_a_fork_bomb_ends_with_its_time(house: House, script: Script) -> None:
    async with house.tried(script("f() { f | f & }; f; sleep 1000"), timeout=500) as tried:
        result = await tried.first()
        assert isinstance(result, Check)
        assert not result.passed
    await house.until_nothing_is_left()


async def test_what_runs_ends_with_its_tracker(house: House, script: Script) -> None:
    async with house.tried(script("trap '' TERM; sleep 1000")):
        await house.until(lambda: len(house.family()) >= 2)
    await house.until_nothing_is_left()


async def test_what_runs_ends_with_control_and_with_the_spawner(scripts: Path, script: Script) -> None:
    path = script("trap '' TERM; sleep 1000 & setsid sleep 1000")
    for end in ("control hangs up", "the spawner is killed"):
        async with house_of(Policy((str(scripts),))) as house, house.tried(path) as tried:
            await house.until(lambda: len(house.family()) >= 4)
            family = house.family()
            if end == "control hangs up":
                house.spawner.close()
                house.process.channel.close()
                await asyncio.to_thread(house.process.process.wait, 10)
                house.deaths = 1
            else:
                house.process.process.send_signal(signal.SIGKILL)
                await house.until(lambda: house.deaths == 1)
            await house.until(lambda: not any(map(alive, family)))  # noqa: B023
            # it was ended, it has not failed: no FAULT while control and the spawner are started anew
            assert not tried.results


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def resident(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    return 0
