"""What is known of the cluster, whoever brought it and in whatever order."""

from typing import Any

from virtualip_operator.pruning import prune_patch
from virtualip_operator.store import Cache, Store


def thing(name: str, version: int, value: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}, "value": value}


def cache() -> Cache[str]:
    return Cache(lambda body: str(body["value"]))


def listed(version: int, *items: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "items": list(items)}


def test_older_news_never_replaces_newer() -> None:
    things = cache()
    assert things.put(thing("a", 5, "new"))
    assert not things.put(thing("a", 4, "old"))
    assert things.get("a") == "new"


def test_an_update_that_changes_nothing_of_interest_is_no_news() -> None:
    things = cache()
    things.put(thing("a", 5, "same"))
    assert not things.put(thing("a", 6, "same"))


def test_what_is_not_in_a_complete_list_is_gone() -> None:
    things = cache()
    things.put(thing("a", 5))
    things.put(thing("b", 6))
    things.replace([thing("b", 6)], 10, 6)
    assert things.items().keys() == {"b"}


def test_what_was_made_after_the_list_stays() -> None:
    things = cache()
    things.put(thing("a", 12))
    things.replace([], 10, 9)
    assert things.get("a") is not None


def test_what_was_deleted_after_the_list_does_not_rise_again() -> None:
    things = cache()
    things.put(thing("a", 5))
    assert things.remove(thing("a", 12))
    things.replace([thing("a", 5)], 10, 9)
    assert things.get("a") is None
    assert things.put(thing("a", 13))  # made anew


def test_a_list_heals_what_a_watch_has_cut_down() -> None:
    things = cache()
    things.put(thing("a", 5, "cut"))
    things.replace([thing("a", 5, "whole")], 10, 5)
    assert things.get("a") == "whole"


def test_a_restored_database_is_believed_though_all_of_it_is_older() -> None:
    things = cache()
    things.put(thing("a", 500, "before"))
    things.put(thing("b", 501))
    things.remove(thing("c", 502))
    assert not things.put(thing("a", 7, "restored"))
    assert things.saw_older
    things.replace([thing("a", 7, "restored"), thing("c", 8)], 20, things.newest())
    assert things.get("a") == "restored"
    assert things.items().keys() == {"a", "c"}
    assert things.saw_older  # what came while it was listed was taken for late news: once more
    things.replace([thing("a", 7, "restored"), thing("c", 8)], 21, things.newest())
    assert not things.saw_older


def virtual_ip(name: str, **spec: object) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "resourceVersion": "1"},
        "spec": {"addresses": ["192.0.2.10/32"], "vrid": 51, **spec},
    }


def node(version: int, address: str = "192.0.2.101", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "server1", "resourceVersion": str(version), "labels": labels},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


def test_a_restored_database_that_has_overtaken_what_was_known_is_believed_too() -> None:
    things = cache()
    things.put(thing("a", 50, "lost"))
    things.put(thing("b", 60, "lost"))
    things.replace([thing("a", 5, "restored")], 70, 60)
    assert things.items() == {"a": "restored"}


def test_a_node_is_news_for_those_alone_whose_plan_it_touches() -> None:
    store = Store()
    heavy = {"nodeSelector": {"matchLabels": {"heavy": "true"}}, "priority": 200}
    store.saw_virtual_ip(virtual_ip("all"))
    store.saw_virtual_ip(virtual_ip("edge", nodeSelector={"matchLabels": {"edge": "true"}}))
    store.saw_virtual_ip(virtual_ip("heavy", nodePriorities=[heavy]))
    store.saw_virtual_ip(virtual_ip("wrong", vrid=0))
    assert store.saw_node(node(2)) == {"all", "heavy"}
    assert store.saw_node(node(3) | {"spec": {"podCIDR": "10.0.0.0/24"}}) == set()  # a heartbeat, say
    assert store.saw_node(node(4, colour="red")) == set()
    assert store.saw_node(node(5, edge="true")) == {"edge"}
    assert store.saw_node(node(6, edge="true", heavy="true")) == {"heavy"}
    assert store.saw_node(node(7, "192.0.2.102", edge="true", heavy="true")) == {"all", "edge", "heavy"}
    assert store.saw_node(node(8), deleted=True) == {"all", "edge", "heavy"}


def test_of_250_virtual_ips_a_label_is_news_for_the_one_that_asks_for_it() -> None:
    store = Store()
    for number in range(250):
        store.saw_virtual_ip(virtual_ip(f"vip{number}", nodeSelector={"matchLabels": {f"for{number}": "true"}}))
    store.saw_node(node(2, for7="true"))
    assert store.saw_node(node(3, for7="true", for8="true")) == {"vip8"}


def test_a_member_is_news_for_its_virtual_ip() -> None:
    store = Store()
    member = {"metadata": {"name": "web.server1", "resourceVersion": "1"}, "spec": {"virtualIP": "web"}}
    assert store.saw_member(member) == {"web"}
    assert store.members_of("web").keys() == {"web.server1"}
    assert store.saw_member(member | {"metadata": member["metadata"] | {"resourceVersion": "2"}}, True) == {"web"}
    assert store.members_of("web") == {}


def test_a_list_brings_what_watches_missed() -> None:
    store = Store()
    store.saw_virtual_ip(thing("web", 1))
    node = {"metadata": {"name": "n", "resourceVersion": "1"}}
    store.listed(listed(9, thing("api", 3)), listed(9), listed(9, node), store.newest())
    assert store.virtual_ips().keys() == {"api"}
    assert [node.name for node in store.nodes()] == ["n"]


def test_entries_of_others_are_pruned_from_the_end_each_with_its_test() -> None:
    status = {"nodes": [{"node": "a"}, {"node": "b"}, {"node": "c"}]}
    assert prune_patch(status, {"b"}) == [
        {"op": "test", "path": "/status/nodes/2/node", "value": "c"},
        {"op": "remove", "path": "/status/nodes/2"},
        {"op": "test", "path": "/status/nodes/0/node", "value": "a"},
        {"op": "remove", "path": "/status/nodes/0"},
    ]
    assert prune_patch(status, {"a", "b", "c"}) == []
    assert prune_patch({}, set()) == []
