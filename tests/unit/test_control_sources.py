"""Which VirtualIPs run, and from where."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from virtualip_agent.control.instance import Instance, Source
from virtualip_agent.control.sources import Selection, select
from virtualip_api.claims import claims
from virtualip_api.virtual_ip import parse_spec


def instance(name: str, source: Source, password: bytes = b"", **spec: Any) -> Instance:
    whole = {"addresses": ["10.0.0.1/32"], "vrid": 51, "interface": "eth0"} | spec
    return Instance(name, source, parse_spec(whole), 100, password)


def manifest(name: str = "web", password: bytes = b"", **spec: Any) -> Instance:
    return instance(name, Source.MANIFEST, password, **spec)


def desired(name: str = "web", password: bytes = b"", **spec: Any) -> Instance:
    return instance(name, Source.DESIRED, password, **spec)


def by_name(*instances: Instance) -> dict[str, Instance]:
    return {one.name: one for one in instances}


def choose(*declared: Instance, running: Mapping[str, Instance] | None = None) -> Selection:
    return select(
        by_name(*(one for one in declared if one.source is Source.DESIRED)),
        by_name(*(one for one in declared if one.source is Source.MANIFEST)),
        running or {},
    )


def test_a_virtual_ip_that_is_the_same_on_the_wire_takes_its_manifest_over() -> None:
    wanted = desired(priority=90)
    selection = choose(wanted, manifest())
    assert selection.instances == {"web": wanted}
    assert not selection.conflicts


def test_the_order_and_the_prefixes_of_addresses_do_not_matter_on_the_wire() -> None:
    selection = choose(
        desired(addresses=["10.0.0.1/24", "10.0.0.2/32"]), manifest(addresses=["10.0.0.2/32", "10.0.0.1/32"])
    )
    assert selection.instances["web"].source is Source.DESIRED


def test_the_manifest_stays_until_the_virtual_ip_is_the_same_on_the_wire_and_the_difference_is_said() -> None:
    kept = manifest()
    selection = choose(desired(vrid=52, advertInterval="100ms"), kept)
    assert selection.instances == {"web": kept}
    assert selection.conflicts == {"web": "the manifest stays: the VirtualIP differs in vrid, advertInterval"}


def test_another_password_is_another_wire_identity_but_is_not_told() -> None:
    selection = choose(desired(password=b"secret"), manifest(password=b"other"))
    assert selection.instances["web"].source is Source.MANIFEST
    assert selection.conflicts == {"web": "the manifest stays: the VirtualIP differs in authentication"}


def test_deleting_the_virtual_ip_returns_to_the_manifest() -> None:
    own = manifest()
    assert choose(own, running=choose(desired(), own).instances).instances == {"web": own}


def test_the_same_vrid_on_the_same_interface_is_refused_to_the_second_by_name_which_is_told_of_the_first() -> None:
    selection = choose(desired("api", addresses=["10.0.0.7/32"]), desired("web"))
    assert list(selection.instances) == ["api"]
    assert [str(problem) for problem in selection.problems] == ["web: refused: VRID 51 on eth0 is api's on this node"]


def test_the_same_vrid_is_no_clash_on_another_interface() -> None:
    selection = choose(
        desired("a", addresses=["10.0.0.1/32"]), desired("b", addresses=["10.0.0.2/32"], interface="eth1")
    )
    assert list(selection.instances) == ["a", "b"]


def test_the_same_vrid_in_another_version_is_a_clash_as_one_socket_hears_both() -> None:
    selection = choose(desired("a", addresses=["10.0.0.1/32"]), desired("c", addresses=["10.0.0.3/32"], version=2))
    assert list(selection.instances) == ["a"]


def test_the_same_address_is_refused_to_the_second_whatever_its_prefix() -> None:
    selection = choose(desired("a", vrid=1), desired("b", vrid=2, addresses=["10.0.0.1/24"]))
    assert list(selection.instances) == ["a"]
    assert "address 10.0.0.1 is a's" in selection.problems[0].message


def test_what_runs_is_not_displaced_by_a_newcomer_whose_name_comes_first() -> None:
    running = desired("web")
    selection = choose(desired("api", addresses=["10.0.0.7/32"]), running, running={"web": running})
    assert list(selection.instances) == ["web"]


def test_an_edit_that_clashes_is_refused_and_what_ran_before_goes_on() -> None:
    api, web = desired("api", vrid=1, addresses=["10.0.0.7/32"]), desired("web", vrid=2)
    clashing = desired("api", vrid=2, addresses=["10.0.0.7/32"])
    selection = choose(clashing, web, running=by_name(api, web))
    assert selection.instances == {"api": api, "web": web}
    assert "change refused: VRID 2 on eth0 is web's" in selection.problems[0].message


def test_an_address_can_move_from_one_virtual_ip_to_another_in_one_step() -> None:
    a, b = desired("a", vrid=1), desired("b", vrid=2, addresses=["10.0.0.2/32"])
    swapped = (desired("a", vrid=1, addresses=["10.0.0.2/32"]), desired("b", vrid=2))
    selection = choose(*swapped, running=by_name(a, b))
    assert selection.instances == by_name(*swapped)
    assert not selection.problems


instances = st.builds(
    lambda name, vrid, address: desired(name, vrid=vrid, addresses=[f"10.0.0.{address}/32"]),
    st.sampled_from("abcd"),
    st.integers(1, 4),
    st.integers(1, 4),
)
sets = st.lists(instances, unique_by=lambda one: one.name).map(lambda found: by_name(*found))


@given(st.lists(sets, min_size=1, max_size=6))
def test_whatever_is_declared_nothing_that_runs_clashes_and_what_is_unchanged_stays(
    history: list[dict[str, Instance]],
) -> None:
    running: Mapping[str, Instance] = {}
    for declared in history:
        selection = select(declared, {}, running)
        held = [claim for one in selection.instances.values() for claim in claims(one.spec)]
        assert len(held) == len(set(held))
        assert selection.instances.keys() <= declared.keys()
        for name, one in running.items():
            if declared.get(name) == one:
                assert selection.instances[name] == one
        for name in declared.keys() - selection.instances.keys():
            assert name in {problem.name for problem in selection.problems}
        running = selection.instances


def test_one_vrid_may_be_two_virtual_ips_of_a_family_each() -> None:
    """RFC 9568, section 1.2: IPv4 and IPv6 are different virtual routers."""
    selection = choose(manifest(), manifest("web6", addresses=["2001:db8::1/128"]))
    assert selection.instances.keys() == {"web", "web6"}
    both = manifest("both", addresses=["10.0.0.2/32", "2001:db8::2/128"])
    assert choose(manifest(), both, running=by_name(both)).instances.keys() == {"both"}


def test_another_transport_is_another_virtual_router() -> None:
    selection = choose(desired(transport="Unicast"), manifest())
    assert "transport" in selection.conflicts["web"]
