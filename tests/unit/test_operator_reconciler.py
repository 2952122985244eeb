"""One VirtualIP's turn: what is written, and above all what is not."""

import copy
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from virtualip_api.names import lease_name
from virtualip_api.status import NodeEntry, State, entry_to_json, format_time
from virtualip_operator.aggregation import SETTLE
from virtualip_operator.api import MEMBERS, NODES, VIRTUAL_IPS, ApiError
from virtualip_operator.haste import PATIENCE
from virtualip_operator.members import is_withdrawn, withdrawn
from virtualip_operator.metrics import Metrics
from virtualip_operator.reconciler import Reconciler
from virtualip_operator.silence import Silence
from virtualip_operator.store import Store

if TYPE_CHECKING:
    from virtualip_operator.api import Api

Json = dict[str, Any]


class FakeApi:
    """Objects by path; every write is recorded, and the paths in `refuses` are answered with an error."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.nodes: list[Json] = []
        self.writes: list[tuple[str, str]] = []
        self.refuses: dict[tuple[str, str], int] = {}
        self._version = 100

    def get(self, path: str) -> Json:
        self._refuse("get", path)
        if path == NODES:
            return {"metadata": {"resourceVersion": str(self.next_version())}, "items": copy.deepcopy(self.nodes)}
        return copy.deepcopy(self.objects[path])

    def find(self, collection: str, name: str) -> Json | None:
        self._refuse("get", collection)
        return copy.deepcopy(self.objects.get(f"{collection}/{name}"))

    def create(self, path: str, body: Json) -> Json:
        self._write("create", path)
        return self._stored(f"{path}/{body['metadata']['name']}", body)

    def replace(self, path: str, body: Json) -> Json:
        self._write("replace", path)
        return self._stored(path, body)

    def apply(self, path: str, body: Json) -> Json:
        self._write("apply", path)
        found = copy.deepcopy(self.objects[path.removesuffix("/status")])
        nodes = {"nodes": found["status"]["nodes"]} if "nodes" in found.get("status", {}) else {}
        return self._stored(path.removesuffix("/status"), found | {"status": body["status"] | nodes})

    def json_patch(self, path: str, operations: list[Json]) -> Json:
        self._write("json_patch", path)
        found = copy.deepcopy(self.objects[path.removesuffix("/status")])
        for operation in operations:
            if operation["op"] == "remove":
                del found["status"]["nodes"][int(operation["path"].rpartition("/")[2])]
        return self._stored(path.removesuffix("/status"), found)

    def delete(self, path: str, metadata: Json) -> None:
        if path in self.objects and self.objects[path]["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise ApiError(409, "it is another one by now")
        self._write("delete", path)

    def next_version(self) -> int:
        self._version += 1
        return self._version

    def _stored(self, path: str, body: Json) -> Json:
        body = copy.deepcopy(body)
        body["metadata"] = {"uid": path, **body["metadata"], "resourceVersion": str(self.next_version())}
        self.objects[path] = body
        return copy.deepcopy(body)

    def _write(self, verb: str, path: str) -> None:
        self._refuse(verb, path)
        self.writes.append((verb, path))

    def _refuse(self, verb: str, path: str) -> None:
        if (verb, path) in self.refuses:
            raise ApiError(self.refuses[verb, path], "refused")


VIP = "/apis/virtualip.dev/v1alpha1/virtualips/web"
STATUS = f"{VIP}/status"


class World:
    """A VirtualIP of two nodes, planned and told."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.store = Store()
        self.silence = Silence(0.0)
        self.enqueued: list[str] = []
        self.reconciler = Reconciler(cast("Api", self.api), self.store, self.silence, Metrics(), self.enqueued.append)
        self.register("a", "b")
        self.edit(addresses=["192.0.2.10/32"], vrid=51)
        self.turn()
        self.api.writes.clear()

    def turn(self) -> float | None:
        return self.reconciler.turn("web")

    def register(self, *names: str) -> None:
        self.api.nodes = [{"metadata": {"name": name, "resourceVersion": "1"}} for name in names]
        self.store.listed_nodes(self.api.get(NODES), self.store.newest())

    def watch_says_gone(self, node: str) -> None:
        metadata = {"name": node, "resourceVersion": str(self.api.next_version())}
        self.store.saw_node({"metadata": metadata}, deleted=True)

    def edit(self, **spec: object) -> None:
        generation = self.api.objects.get(VIP, {"metadata": {}})["metadata"].get("generation", 0) + 1
        body = {**self.api.objects.get(VIP, {}), "spec": spec}
        body["metadata"] = {"name": "web", "uid": "1", "generation": generation}
        self.store.saw_virtual_ip(self.api._stored(VIP, body))

    def annotate(self, **annotations: str) -> None:
        body = copy.deepcopy(self.api.objects[VIP])
        body["metadata"]["annotations"] = {
            f"virtualip.dev/{key.replace('_', '-')}": v for key, v in annotations.items()
        }
        self.store.saw_virtual_ip(self.api._stored(VIP, body))

    def draining(self) -> list[str]:
        return [body["spec"]["node"] for body in self.store.members_of("web").values() if body["spec"]["draining"]]

    def says(self, *entries: NodeEntry) -> None:
        body = copy.deepcopy(self.api.objects[VIP])
        body.setdefault("status", {})["nodes"] = [entry_to_json(entry) for entry in entries]
        self.store.saw_virtual_ip(self.api._stored(VIP, body))

    @property
    def verbs(self) -> list[tuple[str, str]]:
        return [(verb, path.removeprefix("/apis/virtualip.dev/v1alpha1/")) for verb, path in self.api.writes]

    def condition(self, name: str) -> Json:
        return next(c for c in self.api.objects[VIP]["status"]["conditions"] if c["type"] == name)


@pytest.fixture
def world() -> World:
    return World()


def test_a_second_turn_writes_nothing(world: World) -> None:
    world.turn()
    assert world.verbs == []


def test_a_node_that_is_gone_leaves(world: World) -> None:
    world.api.nodes.pop()
    world.watch_says_gone("b")
    world.turn()
    assert ("delete", "virtualipmembers/web.b") in world.verbs


def leave(world: World, *there: NodeEntry) -> list[tuple[str, str]]:
    world.says(*(there or (NodeEntry("a", State.BACKUP, 100), NodeEntry("b", State.MASTER, 100))))
    world.api.nodes.pop()
    world.watch_says_gone("b")
    world.turn()
    return [written for written in world.verbs if written[1] == "virtualipmembers/web.b"]


def test_who_leaves_is_told_first_that_nobody_will_make_its_member_again(world: World) -> None:
    assert leave(world) == [("replace", "virtualipmembers/web.b"), ("delete", "virtualipmembers/web.b")]
    assert is_withdrawn(world.api.objects[f"{MEMBERS}/web.b"])


@pytest.mark.parametrize(
    "there",
    [
        (NodeEntry("b", State.MASTER, 100),),
        (NodeEntry("a", State.FAULT, 0), NodeEntry("b", State.MASTER, 100)),
        (NodeEntry("a", State.BACKUP, 100, reason="WaitingForTrackers"), NodeEntry("b", State.MASTER, 100)),
    ],
    ids=["new", "FAULT", "waiting"],
)
def test_who_leaves_while_nobody_can_take_over_is_not_hurried(world: World, there: tuple[NodeEntry, ...]) -> None:
    """Its agent waits for ten seconds, in which those who are new may become ready."""
    assert leave(world, *there) == [("delete", "virtualipmembers/web.b")]


def test_one_that_is_marked_already_is_deleted(world: World) -> None:
    world.store.saw_member(world.api._stored(f"{MEMBERS}/web.b", withdrawn(world.api.objects[f"{MEMBERS}/web.b"])))
    assert leave(world) == [("delete", "virtualipmembers/web.b")]


@pytest.mark.parametrize("status", [403, 404, 409, 422])
def test_where_the_mark_is_refused_it_leaves_without(world: World, status: int) -> None:
    world.api.refuses["replace", f"{MEMBERS}/web.b"] = status
    assert leave(world) == [("delete", "virtualipmembers/web.b")]


def test_where_the_mark_cannot_be_written_just_now_it_is_tried_again(world: World) -> None:
    world.api.refuses["replace", f"{MEMBERS}/web.b"] = 500
    with pytest.raises(ApiError):
        leave(world)
    assert ("delete", "virtualipmembers/web.b") not in world.verbs
    world.api.refuses.clear()
    world.turn()
    assert world.verbs[-2:] == [("replace", "virtualipmembers/web.b"), ("delete", "virtualipmembers/web.b")]


def test_who_takes_part_again_before_its_member_was_deleted_is_not_marked_any_more(world: World) -> None:
    world.store.saw_member(world.api._stored(f"{MEMBERS}/web.b", withdrawn(world.api.objects[f"{MEMBERS}/web.b"])))
    world.turn()
    assert world.verbs == [("replace", "virtualipmembers/web.b")]
    assert not is_withdrawn(world.api.objects[f"{MEMBERS}/web.b"])


def test_nobody_leaves_on_a_watchs_word_alone(world: World) -> None:
    world.watch_says_gone("b")  # and yet the API server lists it
    world.turn()
    assert world.verbs == []


def test_nobody_leaves_when_there_is_no_node_at_all(world: World) -> None:
    world.says(NodeEntry("a", State.MASTER, 100))
    world.turn()
    world.api.writes.clear()
    world.register()
    world.turn()
    assert world.verbs == []


def test_nobody_leaves_when_nodes_cannot_be_listed(world: World) -> None:
    world.watch_says_gone("b")
    world.api.refuses["get", NODES] = 500
    with pytest.raises(ApiError):
        world.turn()
    assert world.verbs == []


@pytest.mark.parametrize(
    "spec",
    [
        {"addresses": ["192.0.2.10/32"], "vrid": 300},
        {"addresses": ["192.0.2.10/32"], "vrid": 51, "fancy": True},
        {
            "addresses": ["192.0.2.10/32"],
            "vrid": 51,
            "version": 2,
            "authentication": {"type": "PASS", "passwordFile": "/etc/shadow"},
        },
    ],
    ids=["out of bounds", "unknown field", "a file on the node"],
)
def test_what_is_refused_changes_no_member_and_loses_no_entry(world: World, spec: Json) -> None:
    world.says(NodeEntry("a", State.MASTER, 100), NodeEntry("old", State.BACKUP, 100))
    world.edit(**spec)
    world.turn()
    assert {verb for verb, path in world.verbs if path.startswith("virtualip")} == {"apply"}
    assert world.condition("Accepted")["reason"] == "InvalidSpec"
    assert world.api.objects[VIP]["status"]["master"] == "a"


def test_entries_of_those_who_take_no_part_are_removed(world: World) -> None:
    world.says(NodeEntry("old", State.MASTER, 100), NodeEntry("a", State.BACKUP, 100))
    world.turn()
    assert [entry["node"] for entry in world.api.objects[VIP]["status"]["nodes"]] == ["a"]


@pytest.mark.parametrize("refused", [("create", MEMBERS), ("json_patch", STATUS)])
def test_the_status_is_told_also_where_something_else_is_refused(world: World, refused: tuple[str, str]) -> None:
    world.api.refuses[refused] = 403
    world.register("a", "b", "c")
    world.says(NodeEntry("a", State.MASTER, 100), NodeEntry("old", State.BACKUP, 100))
    with pytest.raises(ApiError, match="403"):
        world.turn()
    assert world.api.objects[VIP]["status"]["master"] == "a"


def test_a_member_that_is_there_already_is_learnt_of(world: World) -> None:
    world.register("a", "b", "c")
    path = f"{MEMBERS}/web.c"
    world.api._stored(path, {"metadata": {"name": "web.c"}, "spec": {"virtualIP": "web", "node": "c", "revision": 7}})
    world.api.refuses["create", MEMBERS] = 409
    with pytest.raises(ApiError, match="409"):
        world.turn()
    world.turn()
    assert ("replace", "virtualipmembers/web.c") in world.verbs
    assert world.api.objects[path]["spec"]["revision"] > 7


def test_a_virtual_ip_that_is_gone_is_forgotten_and_its_members_go(world: World) -> None:
    world.store.saw_virtual_ip(world.api.objects.pop(VIP), deleted=True)
    assert world.turn() is None
    assert world.verbs == [("delete", "virtualipmembers/web.a"), ("delete", "virtualipmembers/web.b")]


def test_members_stay_where_their_virtual_ip_is_there_after_all(world: World) -> None:
    world.store.saw_virtual_ip(world.api.objects[VIP], deleted=True)  # as a watch says, and the API server does not
    assert world.turn() is None
    assert world.verbs == []


def test_members_stay_where_nobody_can_say_whether_their_virtual_ip_is_there(world: World) -> None:
    world.store.saw_virtual_ip(world.api.objects.pop(VIP), deleted=True)
    world.api.refuses["get", VIRTUAL_IPS] = 404  # the kind is not served
    with pytest.raises(ApiError):
        world.turn()
    assert world.verbs == []


def test_members_that_were_orphaned_on_purpose_stay(world: World) -> None:
    for body in world.store.members_of("web").values():
        metadata = {**body["metadata"], "ownerReferences": [], "resourceVersion": str(world.api.next_version())}
        world.store.saw_member({**body, "metadata": metadata})
    world.store.saw_virtual_ip(world.api.objects.pop(VIP), deleted=True)
    world.turn()
    assert world.verbs == []


def test_a_move_under_way_is_looked_at_again(world: World) -> None:
    world.says(NodeEntry("a", State.MASTER, 100))
    world.turn()
    world.says(NodeEntry("a", State.BACKUP, 100))
    assert world.turn() is not None


def test_a_cordoned_node_drains_and_the_condition_says_so(world: World) -> None:
    body = {
        "metadata": {"name": "a", "resourceVersion": str(world.api.next_version())},
        "spec": {"unschedulable": True},
    }
    assert world.store.saw_node(body) == {"web"}
    world.turn()
    assert world.draining() == ["a"]
    assert world.condition("Accepted")["message"] == "2 nodes take part; draining: a"


def test_a_planned_move_ends_by_itself_also_where_the_operator_was_away(world: World) -> None:
    world.annotate(move_to="b", move_until=format_time(time.time() + 100))
    again = world.turn()
    assert again is not None
    assert 90 < again < 101
    assert world.draining() == ["a"]
    assert "moved to b until 20" in world.condition("Accepted")["message"]
    world.annotate(move_to="b", move_until=format_time(time.time() - 1))  # as if that time had passed
    assert world.turn() is None
    assert world.draining() == []
    assert world.condition("Accepted")["message"] == "2 nodes take part"


def test_a_move_that_cannot_be_made_is_a_warning_and_changes_nothing(world: World) -> None:
    world.annotate(move_to="b")
    world.turn()
    assert world.condition("Accepted")["reason"] == "MoveNotMade"
    assert "move-until]: is missing" in world.condition("Accepted")["message"]
    assert world.draining() == []


def lease(node: str, renewed: float) -> Json:
    return {"metadata": {"name": lease_name(node)}, "spec": {"renewTime": format_time(renewed)}}


def test_a_lease_that_runs_out_is_a_reason_for_a_turn(world: World) -> None:
    now = time.monotonic()
    world.silence.listed([lease("a", time.time()), lease("b", time.time())], now, time.time())
    world.turn()
    assert not world.reconciler.is_due("web", now)
    assert world.reconciler.is_due("web", now + 31)
    assert not world.reconciler.is_due("unknown", now + 31)


def test_two_claims_are_looked_at_again_when_a_lease_is_renewed_and_not_before(world: World) -> None:
    now, wall = time.monotonic(), time.time()
    world.silence.listed([lease("a", wall), lease("b", wall)], now, wall)
    claims = (NodeEntry(node, State.MASTER, 100, 1, format_time(wall + at)) for at, node in enumerate("ab", 1))
    world.says(*claims)
    world.turn()
    assert not world.reconciler.is_due("web", now)
    for node in "ab":
        world.silence.observe(lease(node, wall + 10), now, wall)
    assert world.reconciler.is_due("web", now)
    world.turn()
    assert world.condition("SingleMaster")["status"] == "False"
    assert not world.reconciler.is_due("web", now)


def test_entries_that_arrive_one_after_another_are_summed_up_in_one_write(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    clock = SimpleNamespace(monotonic=lambda: now, time=time.time)
    monkeypatch.setattr("virtualip_operator.reconciler.time", clock)
    world.silence.listed([lease("a", time.time()), lease("b", time.time())], now, time.time())
    world.says(NodeEntry("a", State.FAULT, 100, 1, reason="TrackerFailed"))
    world.turn()
    world.api.writes.clear()

    world.says(NodeEntry("a", State.FAULT, 100, 1, reason="TrackerFailed"), NodeEntry("b", State.FAULT, 90, 1))
    assert world.turn() == pytest.approx(PATIENCE)
    now += PATIENCE / 2
    world.says(NodeEntry("a", State.FAULT, 100, 1, reason="TrackerFailed"), NodeEntry("b", State.FAULT, 80, 1))
    assert world.turn() == pytest.approx(PATIENCE / 2)
    assert world.verbs == []
    now += PATIENCE / 2
    assert world.turn() is None

    assert world.verbs == [("apply", "virtualips/web/status")]
    assert world.api.objects[VIP]["status"]["summary"] == "a=FAULT/100 b=FAULT/80"
    world.turn()
    assert len(world.verbs) == 1


def test_a_new_master_is_told_at_once_and_what_waited_with_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr("virtualip_operator.reconciler.time", SimpleNamespace(monotonic=lambda: now, time=time.time))
    world.silence.listed([lease("a", time.time()), lease("b", time.time())], now, time.time())
    world.says(NodeEntry("a", State.MASTER, 100, 1, format_time(time.time())), NodeEntry("b", State.BACKUP, 90, 1))
    world.turn()
    world.api.writes.clear()

    world.says(NodeEntry("a", State.BACKUP, 80, 1), NodeEntry("b", State.BACKUP, 90, 1))
    assert world.turn() is not None
    assert world.verbs == []
    world.says(NodeEntry("a", State.BACKUP, 80, 1), NodeEntry("b", State.MASTER, 90, 1, format_time(time.time())))
    world.turn()

    assert world.verbs[0] == ("apply", "virtualips/web/status")
    assert world.api.objects[VIP]["status"]["master"] == "b"
    assert world.api.objects[VIP]["status"]["summary"] == "a=BACKUP/80 b=MASTER/90"


def peers_of(world: World, member: str) -> list[str]:
    return [peer["node"] for peer in world.api.objects[f"{MEMBERS}/web.{member}"]["spec"]["members"]]


@pytest.mark.parametrize("transport", ["Unicast", "Multicast"])
def test_a_master_that_leaves_is_known_to_the_others_until_it_has_let_go(world: World, transport: str) -> None:
    """Its resignation would not be heard; or it would be told of as a stranger."""
    only_a = {"matchExpressions": [{"key": "leaves", "operator": "DoesNotExist"}]}
    world.edit(addresses=["192.0.2.10/32"], vrid=51, transport=transport, nodeSelector=only_a)
    world.turn()
    world.says(NodeEntry("a", State.BACKUP, 100), NodeEntry("b", State.MASTER, 100))
    world.api.nodes[1]["metadata"] |= {"labels": {"leaves": "true"}, "resourceVersion": "200"}
    world.store.listed_nodes(world.api.get(NODES), world.store.newest())
    world.turn()
    assert ("delete", "virtualipmembers/web.b") in world.verbs
    assert peers_of(world, "a") == ["a", "b"]
    world.says(NodeEntry("a", State.MASTER, 100), NodeEntry("b", State.BACKUP, 100))
    world.turn()
    assert peers_of(world, "a") == ["a"]
    # its agent takes its entry away itself
    assert [entry["node"] for entry in world.api.objects[VIP]["status"]["nodes"]] == ["a", "b"]


def unplanned(world: World, state: State) -> None:
    """`b` says what it is, and takes no part any more."""
    world.says(NodeEntry("a", State.BACKUP, 100), NodeEntry("b", state, 100))
    stays = {"matchExpressions": [{"key": "leaves", "operator": "DoesNotExist"}]}
    world.api.nodes[1]["metadata"] |= {"labels": {"leaves": "true"}, "resourceVersion": "200"}
    world.store.listed_nodes(world.api.get(NODES), world.store.newest())
    world.edit(addresses=["192.0.2.10/32"], vrid=51, nodeSelector=stays)


def test_a_master_that_leaves_is_the_master_until_it_lets_go_and_nobody_is_alarmed(world: World) -> None:
    unplanned(world, State.MASTER)
    world.turn()
    status = world.api.objects[VIP]["status"]
    assert ("delete", "virtualipmembers/web.b") in world.verbs
    assert (status["master"], status["summary"]) == ("b", "a=BACKUP/100 b=MASTER/100")
    assert world.condition("Ready")["status"] == "True"
    world.says(NodeEntry("a", State.MASTER, 100))
    world.turn()
    assert world.api.objects[VIP]["status"]["master"] == "a"


@pytest.mark.parametrize("entries", [("a", "b"), ("a",)], ids=["lets go", "and its entry is gone"])
def test_a_master_that_leaves_and_lets_go_before_its_successor_is_heard_of_is_no_outage(
    world: World, entries: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    unplanned(world, State.MASTER)
    world.turn()
    world.says(*(NodeEntry(node, State.BACKUP, 100) for node in entries))
    world.turn()
    assert world.api.objects[VIP]["status"]["master"] == "b"
    assert world.condition("Ready")["status"] == "True"
    later = time.monotonic() + SETTLE
    monkeypatch.setattr("virtualip_operator.reconciler.time.monotonic", lambda: later)
    world.turn()
    assert "master" not in world.api.objects[VIP]["status"]
    assert world.condition("Ready")["reason"] == "NoMaster"


@pytest.mark.parametrize("state", [State.MASTER, State.BACKUP])
def test_an_entry_of_a_node_that_lives_and_takes_no_part_is_its_agents_alone(world: World, state: State) -> None:
    """A static manifest of that name, say: what was removed would be written again, for ever."""
    unplanned(world, state)
    for _ in range(3):
        world.turn()
    assert [verb for verb, _ in world.verbs].count("json_patch") == 0


def test_an_entry_goes_with_its_silent_node(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    unplanned(world, State.MASTER)
    world.turn()
    world.silence.listed([], 0.0, 0.0)
    later = time.monotonic() + 3600
    monkeypatch.setattr("virtualip_operator.reconciler.time.monotonic", lambda: later)
    assert world.reconciler.is_due("web", later)
    world.turn()
    assert [entry["node"] for entry in world.api.objects[VIP]["status"]["nodes"]] == ["a"]


def test_a_claim_is_later_where_it_was_seen_later_though_the_other_nodes_clock_is_ahead(world: World) -> None:
    now = time.time()
    ahead = NodeEntry("a", State.MASTER, 110, last_transition_time=format_time(now + 5))
    world.says(ahead, NodeEntry("b", State.BACKUP, 100))
    world.turn()
    world.says(ahead, NodeEntry("b", State.MASTER, 100, last_transition_time=format_time(now + 3)))
    world.turn()
    world.turn()
    status = world.api.objects[VIP]["status"]
    assert (status["master"], status["lastMoves"][0]["to"]) == ("b", "b")


def test_a_plan_that_the_api_server_does_not_take_is_not_accepted_and_the_servers_words_are_shown(
    world: World,
) -> None:
    world.register("a", "b", "c")
    world.api.refuses["create", MEMBERS] = 422
    with pytest.raises(ApiError):
        world.turn()
    accepted = world.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "MembersRefused")
    assert "refused" in accepted["message"]
    world.api.refuses["create", MEMBERS] = 500  # in passing
    with pytest.raises(ApiError):
        world.turn()
    assert world.condition("Accepted")["status"] == "True"


def test_a_member_that_was_orphaned_on_purpose_is_not_deleted_though_the_watch_of_members_lags(world: World) -> None:
    for path, member in list(world.api.objects.items()):
        if path.startswith(MEMBERS):
            member["metadata"].pop("ownerReferences")
            world.api._stored(path, member)
    gone = world.api.objects.pop(VIP)
    gone["metadata"]["resourceVersion"] = str(world.api.next_version())
    world.store.saw_virtual_ip(gone, deleted=True)
    world.turn()
    assert world.verbs == []


# Beside others


class Neighbours(World):
    """`web`, planned, and a younger one that wants its VRID."""

    def __init__(self) -> None:
        super().__init__()
        self.put("db", created=2)
        self.reconciler.turn("db")

    def put(self, name: str, created: int, **spec: object) -> None:
        path = f"{VIRTUAL_IPS}/{name}"
        metadata = {"name": name, "uid": name, "creationTimestamp": f"2026-01-01T00:00:0{created}Z"}
        whole = {"addresses": [f"192.0.2.2{created}/32"], "vrid": 51, **spec}
        body = {**self.api.objects.get(path, {}), "metadata": metadata, "spec": whole}
        self.store.saw_virtual_ip(self.api._stored(path, body))

    def accepted(self, name: str) -> tuple[str, str]:
        conditions = self.api.objects[f"{VIRTUAL_IPS}/{name}"]["status"]["conditions"]
        found = next(condition for condition in conditions if condition["type"] == "Accepted")
        return found["status"], found["reason"]

    def play(self) -> list[str]:
        """Takes the turns that were asked for until there are none; their names in order."""
        taken = []
        while self.enqueued:
            name = self.enqueued.pop(0)
            self.reconciler.turn(name)
            taken.append(name)
            assert len(taken) < 20, taken
        return taken


@pytest.fixture
def neighbours() -> Neighbours:
    return Neighbours()


def test_the_younger_one_is_not_accepted_and_nothing_is_planned_for_it(neighbours: Neighbours) -> None:
    assert neighbours.accepted("db") == ("False", "VRIDInUse")
    assert [path for verb, path in neighbours.verbs if verb == "create" and "members" in path] == []
    assert neighbours.accepted("web") == ("True", "Planned")


def test_when_the_older_one_is_deleted_the_younger_is_accepted_once_nobody_runs_it(neighbours: Neighbours) -> None:
    neighbours.play()
    neighbours.store.saw_virtual_ip(neighbours.api.objects[VIP], deleted=True)
    neighbours.turn()
    neighbours.play()
    assert neighbours.accepted("db") == ("False", "VRIDInUse")  # its Members are there yet
    for node in "ab":
        neighbours.store.saw_member(neighbours.api.objects[f"{MEMBERS}/web.{node}"], deleted=True)
    neighbours.turn()
    assert neighbours.play() == ["db"]
    assert neighbours.accepted("db") == ("True", "Planned")


def test_when_the_older_one_is_edited_away_the_younger_is_accepted(neighbours: Neighbours) -> None:
    neighbours.play()
    for name, interface in (("web", "eth0"), ("db", "eth1")):
        neighbours.put(name, created=1 if name == "web" else 2, interface=interface)
        neighbours.reconciler.turn(name)
        neighbours.play()
    assert neighbours.accepted("db") == ("True", "Planned")


def test_a_running_one_that_is_edited_to_collide_goes_on_as_it_was_and_breaks_nobody(neighbours: Neighbours) -> None:
    neighbours.put("db", created=2, interface="eth1", vrid=52)
    neighbours.reconciler.turn("db")
    neighbours.play()
    before = copy.deepcopy({path: body for path, body in neighbours.api.objects.items() if path.startswith(MEMBERS)})
    neighbours.put("web", created=1, addresses=["192.0.2.22/32"], vrid=51)
    neighbours.turn()
    neighbours.play()
    assert neighbours.accepted("web") == ("False", "AddressInUse")
    assert neighbours.accepted("db") == ("True", "Planned")
    assert {path: body for path, body in neighbours.api.objects.items() if path.startswith(MEMBERS)} == before
    neighbours.put("db", created=2, addresses=["192.0.2.23/32"], interface="eth1", vrid=52)
    neighbours.reconciler.turn("db")
    assert "web" in neighbours.play()
    assert neighbours.accepted("web") == ("True", "Planned")


def test_turns_that_change_no_claim_ask_for_no_other_turns(neighbours: Neighbours) -> None:
    neighbours.play()
    for name in ("web", "db", "web", "db"):
        neighbours.reconciler.turn(name)
    assert neighbours.enqueued == []


@pytest.fixture
def meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Json]]:
    """What others write into the VirtualIP while the next status is on its way; no watch tells of it in time."""
    written: list[Json] = []
    apply = world.api.apply

    def late(path: str, body: Json) -> Json:
        while written:
            world.api._stored(VIP, {**world.api.objects[VIP], **written.pop()})
        return apply(path, body)

    monkeypatch.setattr(world.api, "apply", late)
    yield written
    assert not written


def test_an_entry_that_came_while_the_status_was_written_is_told_too(world: World, meanwhile: list[Json]) -> None:
    world.says(NodeEntry("a", State.MASTER, 100))
    meanwhile.append({"status": {"nodes": [entry_to_json(NodeEntry("b", State.MASTER, 110))]}})
    world.turn()
    assert world.enqueued == ["web"]
    world.enqueued.clear()
    world.turn()
    assert world.api.objects[VIP]["status"]["master"] == "b"
    assert world.enqueued == []


def test_an_edit_that_came_while_the_status_was_written_is_followed(world: World, meanwhile: list[Json]) -> None:
    metadata = {**world.api.objects[VIP]["metadata"], "generation": 2}
    meanwhile.append({"metadata": metadata, "spec": {"addresses": ["192.0.2.11/32"], "vrid": 51}})
    world.says(NodeEntry("a", State.MASTER, 100))
    world.turn()
    assert world.enqueued == ["web"]
    world.turn()
    assert world.api.objects[VIP]["status"]["observedGeneration"] == 2


def test_an_edit_that_came_with_the_removal_of_an_entry_is_followed_and_not_said_to_be_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.says(NodeEntry("old", State.MASTER, 100))
    json_patch = world.api.json_patch

    def late(path: str, operations: list[Json]) -> Json:
        found = world.api.objects[VIP]
        edited = {"metadata": {**found["metadata"], "generation": 2}, "spec": {"addresses": [], "vrid": 51}}
        world.api._stored(VIP, {**found, **edited})
        return json_patch(path, operations)

    monkeypatch.setattr(world.api, "json_patch", late)
    world.turn()
    assert "web" in world.enqueued
    assert world.api.objects[VIP]["status"]["observedGeneration"] == 1


def test_of_two_whose_turns_come_at_once_one_gets_the_vrid(
    neighbours: Neighbours, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbours.play()
    neighbours.put("b", created=4, vrid=77)
    create, first = neighbours.api.create, [True]

    def slow(path: str, body: Json) -> Json:
        if first.pop() if first else False:
            neighbours.put("a", created=3, vrid=77)  # the older one's turn, before a Member of the younger is there
            neighbours.reconciler.turn("a")
        return create(path, body)

    monkeypatch.setattr(neighbours.api, "create", slow)
    neighbours.reconciler.turn("b")
    neighbours.play()
    assert (neighbours.accepted("a"), neighbours.accepted("b")) == (("False", "VRIDInUse"), ("True", "Planned"))
    assert neighbours.store.members_of("a") == {}
    # and the one that waited is accepted when the other goes
    neighbours.store.saw_virtual_ip(neighbours.api.objects.pop(f"{VIRTUAL_IPS}/b"), deleted=True)
    neighbours.reconciler.turn("b")
    for body in neighbours.store.members_of("b").values():
        metadata = {**body["metadata"], "resourceVersion": str(neighbours.api.next_version())}
        neighbours.store.saw_member({**body, "metadata": metadata}, deleted=True)
    neighbours.reconciler.turn("b")
    neighbours.play()
    assert neighbours.accepted("a") == ("True", "Planned")


def test_what_a_list_of_nodes_says_to_others_than_the_one_it_was_made_for_is_not_lost(neighbours: Neighbours) -> None:
    """It is known then, so the watch's events are no news any more."""
    neighbours.put("db", created=2, vrid=52)
    neighbours.reconciler.turn("db")
    neighbours.play()
    version = str(neighbours.api.next_version())
    cordoned = {"metadata": {"name": "a", "resourceVersion": version}, "spec": {"unschedulable": True}}
    neighbours.api.nodes = [cordoned]
    neighbours.watch_says_gone("b")
    neighbours.turn()
    assert neighbours.store.saw_node(cordoned) == set()
    assert "db" in neighbours.enqueued
    neighbours.play()
    members = neighbours.store.members_of("db").values()
    assert "a" in {body["spec"]["node"] for body in members if body["spec"]["draining"]}


def test_who_leaves_and_goes_silent_is_a_reason_for_a_turn_and_so_is_the_end_of_its_node(world: World) -> None:
    stays = {"matchExpressions": [{"key": "leaves", "operator": "DoesNotExist"}]}
    world.edit(addresses=["192.0.2.10/32"], vrid=51, transport="Unicast", nodeSelector=stays)
    now, wall = time.monotonic(), time.time()
    world.silence.listed([lease("a", wall), lease("b", wall)], now, wall)
    world.says(NodeEntry("a", State.BACKUP, 100), NodeEntry("b", State.MASTER, 100))
    leaving = {"metadata": {"name": "b", "labels": {"leaves": "true"}, "resourceVersion": "200"}}
    world.api.nodes[1] = leaving
    world.store.listed_nodes(world.api.get(NODES), world.store.newest())
    world.turn()
    assert peers_of(world, "a") == ["a", "b"]
    later = now + 3600
    for renewed in (wall + 1, wall + 2):
        world.silence.observe(lease("a", renewed), later, wall)
    assert world.reconciler.is_due("web", later)
    gone = {"metadata": {**leaving["metadata"], "resourceVersion": "300"}}
    assert world.store.saw_node(gone, deleted=True) == {"web"}


def test_one_that_is_refused_is_drained_all_the_same_and_moved_too(neighbours: Neighbours) -> None:
    """Who empties a node does not know of an edit that was not accepted."""
    neighbours.edit(addresses=["192.0.2.22/32"], vrid=300)
    neighbours.turn()
    neighbours.api.nodes[0] |= {"spec": {"unschedulable": True}}
    neighbours.api.nodes[0]["metadata"]["resourceVersion"] = "500"
    neighbours.store.saw_node(neighbours.api.nodes[0])
    neighbours.turn()
    assert neighbours.condition("Accepted")["reason"] == "InvalidSpec"
    assert neighbours.draining() == ["a"]
    member = neighbours.api.objects[f"{MEMBERS}/web.a"]["spec"]
    assert member["spec"]["vrid"] == 51
    neighbours.annotate(move_to="b", move_until="2999-01-01T00:00:00Z")
    neighbours.turn()
    neighbours.api.nodes[0]["spec"] = {}
    neighbours.api.nodes[0]["metadata"]["resourceVersion"] = "600"
    neighbours.store.saw_node(neighbours.api.nodes[0])
    neighbours.turn()
    assert neighbours.draining() == ["a"]  # for the move
    neighbours.annotate()
    neighbours.turn()
    assert neighbours.draining() == []
    assert neighbours.api.objects[f"{MEMBERS}/web.a"]["spec"]["revision"] > member["revision"]


def test_a_member_that_was_deleted_while_nobody_watched_is_made_anew(world: World) -> None:
    """A watch that is opened again tells of no absence."""
    member = "/apis/virtualip.dev/v1alpha1/virtualipmembers/web.a"
    world.api.refuses["replace", member] = 404
    world.edit(addresses=["192.0.2.10/32"], vrid=52)
    with pytest.raises(ApiError):
        world.turn()
    world.turn()
    assert world.api.objects[member]["spec"]["spec"]["vrid"] == 52
    assert ("create", "/apis/virtualip.dev/v1alpha1/virtualipmembers") in world.api.writes


def test_the_members_of_a_deleted_virtual_ip_are_forgotten_though_no_watch_tells_of_their_end(world: World) -> None:
    del world.api.objects[VIP]
    world.store.saw_virtual_ip({"metadata": {"name": "web", "resourceVersion": str(world.api.next_version())}}, True)
    world.turn()
    assert world.store.members_of("web") == {}
    assert world.store.names() == set()
