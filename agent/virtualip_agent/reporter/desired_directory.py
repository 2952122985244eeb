"""The desired files: written from plans, kept whatever else happens, removed only when told to."""

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from virtualip_agent.desired_file import SUFFIX, decode, names_in, write_atomically
from virtualip_agent.reporter.entry import Remark
from virtualip_agent.reporter.plan import Password, Plan, Running, SecretKey, content_for
from virtualip_api.claims import claims
from virtualip_api.errors import InvalidResource
from virtualip_api.trackers import PodReadyTracker

log = logging.getLogger(__name__)


class DesiredDirectory:
    """The files of one directory and the plans they come from. Safe to share between threads.

    `remark` is told of each VIP why its newest plan does not run, or None when it does."""

    def __init__(self, path: Path, remark: Callable[[str, Remark | None], None]) -> None:
        self._path = path
        self._remark = remark
        self._lock = threading.RLock()
        self._contents: dict[str, bytes] = {}
        self._pod_namespaces: dict[str, frozenset[str]] = {}
        self._plans: dict[str, Plan] = {}
        self._passwords: dict[SecretKey, Password] = {}
        self._identity: dict[str, tuple[str, str]] = {}
        """uid and creationTimestamp of the Member that the file was written from."""
        self._remarks: dict[str, Remark] = {}
        for name in names_in(path):
            self._keep(name, (path / f"{name}{SUFFIX}").read_bytes())

    def remember(self, name: str, uid: str, created: str) -> None:
        """From which Member the file was written, as an earlier process knew."""
        self._identity[name] = (uid, created)

    def names(self) -> set[str]:
        """VIPs with a file."""
        with self._lock:
            return set(self._contents)

    def pod_namespaces(self) -> set[str]:
        """The namespaces whose pods the trackers of these VIPs ask for."""
        with self._lock:
            return set().union(*self._pod_namespaces.values())

    def identity(self, name: str) -> tuple[str, str]:
        """uid and creationTimestamp of the Member of that file; '' where unknown."""
        with self._lock:
            return self._identity.get(name, ("", ""))

    def take(self, plan: Plan) -> None:
        """A plan has arrived: its file is written, or the reason why not is said."""
        with self._lock:
            self._plans[plan.name] = plan
            self._write(plan)

    def secrets(self) -> set[SecretKey]:
        """The passwords that plans ask for; all others are forgotten."""
        with self._lock:
            wanted = {plan.secret for plan in self._plans.values() if plan.secret}
            for secret in self._passwords.keys() - wanted:
                del self._passwords[secret]
            return wanted

    def has_password(self, secret: SecretKey) -> bool:
        """Whether the password was read before."""
        with self._lock:
            return secret in self._passwords

    def take_password(self, secret: SecretKey, password: Password) -> None:
        """A password was read, or could not be: the files that need it are written."""
        with self._lock:
            self._passwords[secret] = password
            for plan in self._plans.values():
                if plan.secret == secret:
                    self._write(plan)

    def password_unread(self, secret: SecretKey, problem: str) -> None:
        """A password could not be read, which is no news of it: one that is known holds."""
        with self._lock:
            known = self._passwords.get(secret)
            if known is None or known.value is None:
                self.take_password(secret, Password(problem=problem))

    def remove(self, name: str) -> None:
        """Withdraws the VIP. OSError where the file cannot be removed."""
        with self._lock:
            (self._path / f"{name}{SUFFIX}").unlink(missing_ok=True)
            self._contents.pop(name, None)
            self._pod_namespaces.pop(name, None)
            self._identity.pop(name, None)
            self._plans.pop(name, None)
            self._say(name, None)

    def clash(self, name: str, other: str) -> bool:
        """Whether two cannot run beside each other on a node: the same address, or VRID."""
        with self._lock:
            one, two = self._running(name), self._running(other)
        if one is None or two is None:
            return False
        mine, theirs = claims(one.desired.member.spec), claims(two.desired.member.spec)
        return not mine.keys().isdisjoint(theirs)

    def forgotten(self, planned: Collection[str]) -> set[str]:
        """Those whose file somebody took away (`virtualip-agent forget`), and that are not among the planned ones: of
        those it is written again."""
        with self._lock:
            gone = {name for name in self._contents if not (self._path / f"{name}{SUFFIX}").exists()}
            for name in gone & set(planned):
                del self._contents[name]
            for plan in self._of(gone & set(planned)):
                self._write(plan)
            gone -= set(planned)
            for name in gone:
                self.remove(name)
            return gone

    def retry(self) -> None:
        """Writes what could not be written (the disk was full)."""
        with self._lock:
            failed = [name for name, remark in self._remarks.items() if remark.reason == "WriteFailed"]
            for plan in self._of(failed):
                self._write(plan)

    def _of(self, names: Iterable[str]) -> list[Plan]:
        return [self._plans[name] for name in names if name in self._plans]

    def _write(self, plan: Plan) -> None:
        content = content_for(plan, self._running(plan.name), self._passwords.get(plan.secret) if plan.secret else None)
        if isinstance(content, Remark):
            self._say(plan.name, content)
            return
        if content != self._contents.get(plan.name):
            try:
                write_atomically(self._path / f"{plan.name}{SUFFIX}", content)
            except OSError as error:
                self._say(plan.name, Remark("WriteFailed", f"the plan cannot be written: {error.strerror}"))
                return
            self._keep(plan.name, content)
            log.info("%s: plan written, revision %s", plan.name, plan.raw.get("revision"))
        self._identity[plan.name] = (plan.uid, plan.created)
        self._say(plan.name, None)

    def _keep(self, name: str, content: bytes) -> None:
        self._contents[name] = content
        running = self._running(name)
        trackers = running.desired.member.spec.trackers if running else ()
        checks = [tracker.check for tracker in trackers]
        self._pod_namespaces[name] = frozenset(it.namespace for it in checks if isinstance(it, PodReadyTracker))

    def _running(self, name: str) -> Running | None:
        content = self._contents.get(name)
        if content is None:
            return None
        try:
            desired = decode(content)
        except InvalidResource:
            return None  # of another version, or damaged: any plan is better
        return Running(desired, *self._identity.get(name, ("", "")))

    def _say(self, name: str, remark: Remark | None) -> None:
        if self._remarks.get(name) == remark:
            return
        if remark is None:
            self._remarks.pop(name, None)
        else:
            self._remarks[name] = remark
            log.warning("%s: %s: %s", name, remark.reason, remark.message)
        self._remark(name, remark)
