"""Which test holds which rule of RFC 9568 and RFC 3768 (each MUST and MUST NOT), and which does not apply and why; and
the same for the rules that implementations get wrong. A test that is renamed or removed is missed here."""

import ast
from functools import cache
from pathlib import Path
from typing import Final

import pytest

_TESTS: Final = Path(__file__).parents[1]

RFC9568: Final = {
    "5.1.1.1 the source is the primary IPv4 address of the interface": (
        "unit/test_realtime_interfaces.py::test_the_source_is_the_address_in_the_vips_subnet",
        "unit/test_realtime_interfaces.py::test_the_source_is_never_a_vip_neither_this_nor_another_of_ours",
    ),
    "5.1.1.3 TTL MUST be 255": ("wire/test_peers.py::test_the_peer_follows_us",),
    "5.1.1.3 a packet with another TTL MUST be discarded": (
        "unit/test_realtime_packet_filter.py::test_what_passed_a_router_does_not_wake_us",
        "unit/test_fuzz.py::test_no_packet_raises_none_that_is_invalid_changes_anything_and_every_one_is_counted_once",
    ),
    "5.1.2.1 the source is the link-local IPv6 address of the interface": (
        "unit/test_realtime_interfaces.py::test_over_ipv6_the_source_is_the_link_local_address",
        "netns/test_ipv6.py::test_a_client_resolves_the_address_and_its_cache_moves_with_it",
    ),
    "5.1.2.3 hop limit MUST be 255, and one with another MUST be discarded": (
        "netns/test_ipv6.py::test_what_passed_a_router_is_dropped_and_counted",
    ),
    "5.2.1 version 3, 5.2.2 another type MUST be discarded": (
        "unit/test_core_packet.py::test_what_is_wrong_is_dropped_with_its_reason",
        "unit/test_rfc9568.py::test_7_1_another_version_is_dropped_and_counted",
    ),
    "5.2.4 255 is the owner's, a backup MUST use 1 to 254": (
        "unit/test_core_priority.py::test_nobody_but_an_owner_ever_has_255_and_nobody_0",
    ),
    "5.2.5 a count of 0 MUST be ignored": (
        "unit/test_core_packet.py::test_what_is_wrong_is_dropped_with_its_reason",
    ),
    "5.2.6 reserved bits MUST be 0 when sent, and be ignored": (
        "unit/test_control_frames.py::test_the_longest_version_3_interval_leaves_the_reserved_bits_alone",
        "unit/test_core_packet.py::test_the_reserved_nibble_before_the_interval_is_ignored",
    ),
    "5.2.7 the interval is in centiseconds, 12 bits": (
        "wire/test_bytes.py::test_the_longest_interval_is_kept_to_12_bits",
    ),
    "5.2.8 what the checksum is of": (
        "unit/test_core_packet.py::test_version_3_is_accepted_with_and_without_the_pseudo_header_in_its_checksum",
        "unit/test_core_packet.py::test_which_form_is_sent_is_a_setting_for_version_3_over_ipv4_alone",
        "unit/test_core_packet.py::test_over_ipv6_the_pseudo_header_is_always_summed",
        "unit/test_core_packet.py::test_the_checksum_is_rfc_1071s",
        "wire/test_bytes.py::test_the_bytes_are_these",
        "wire/test_bytes.py::test_the_bytes_over_ipv6_are_these_and_we_read_them",
    ),
    "5.2.9 of IPv6 the first address MUST be the link-local one": (
        "unit/test_control_frames.py::test_a_link_local_address_is_the_first_in_the_advertisement_and_the_rest_keep_their_order",
    ),
    "5.2.9 MUST be of the family of the packet that names them": (
        "unit/test_core_packet.py::test_over_ipv6_the_addresses_are_of_16_bytes",
        "unit/test_core_packet.py::test_over_ipv6_a_list_that_is_cut_short_is_dropped",
        "unit/test_control_families.py::test_each_family_is_a_router_of_the_same_vrid_bound_to_the_other",
    ),
    "6.1 Skew_Time and Active_Down_Interval": (
        "unit/test_rfc9568.py::test_6_1_skew_time_is_a_part_of_the_interval_and_not_rounded_to_centiseconds",
    ),
    "6.1 Preempt_Mode: the owner always preempts": (
        "unit/test_rfc9568.py::test_6_1_the_address_owner_preempts_whatever_preempt_mode_says",
    ),
    "6.1 Accept_Mode: as if true": (
        "netns/test_scenarios.py::test_s10_the_backup_takes_over_when_the_masters_cable_is_pulled",
    ),
    "6.4.1 startup of the owner": ("unit/test_rfc9568.py::test_6_4_1_the_address_owner_is_master_at_startup",),
    "6.4.1 startup of anybody else": (
        "unit/test_rfc9568.py::test_6_4_1_anybody_else_listens_for_a_master_down_interval",
    ),
    "6.4.2 a BACKUP MUST NOT answer for, nor accept what is for, the addresses": (
        "unit/test_rfc9568.py::test_6_4_3_a_master_hearing_a_higher_priority_becomes_backup",
        "netns/test_scenarios.py::test_s1_the_vip_is_where_httpd_runs_and_returns_when_it_is_started_again",
        "simulation/test_long_run.py::test_ten_hours_of_faults_and_after_each_repair_one_master_the_right_one",
    ),
    "6.4.2 shutdown of a BACKUP": ("unit/test_core_faults.py::test_what_is_stopped_does_nothing_more",),
    "6.4.2 Active_Down_Timer fires": (
        "unit/test_rfc9568.py::test_6_4_2_a_backup_that_takes_over_puts_the_address_on_tells_the_neighbours_and_advertises",
    ),
    "6.4.2 priority 0": (
        "unit/test_rfc9568.py::test_6_4_2_priority_0_sets_the_timer_to_skew_time",
        "unit/test_rfc9568.py::test_6_4_2_a_resignation_that_is_taken_back_gives_the_whole_interval_again",
    ),
    "6.4.2 a higher or equal priority, or no preemption: learn the interval, reset the timer": (
        "unit/test_rfc9568.py::test_6_4_2_the_masters_interval_is_learned",
        "unit/test_rfc9568.py::test_6_4_2_a_higher_or_equal_priority_resets_the_timer",
        "unit/test_rfc9568.py::test_6_4_2_without_preempt_mode_a_lower_priority_resets_the_timer",
    ),
    "6.4.2 otherwise: discard": (
        "unit/test_rfc9568.py::test_6_4_2_a_lower_priority_is_discarded_and_never_extends_the_timer",
    ),
    "6.4.3 MUST answer ARP": (
        "netns/test_scenarios.py::test_s1_the_vip_is_where_httpd_runs_and_returns_when_it_is_started_again",
    ),
    "6.4.3 MUST answer neighbour solicitations, MUST be in the solicited-node group": (
        "netns/test_ipv6.py::test_a_client_resolves_the_address_and_its_cache_moves_with_it",
        "netns/test_ipv6.py::test_90_addresses_are_one_packet_and_all_answer",
    ),
    "6.4.3 shutdown: priority 0": ("unit/test_rfc9568.py::test_6_4_3_a_master_that_shuts_down_says_priority_0",),
    "6.4.3 Adver_Timer fires": ("unit/test_rfc3768.py::test_section_6_4_3_a_master_says_its_priority_every_interval",),
    "6.4.3 priority 0 heard: advertise": (
        "unit/test_rfc9568.py::test_6_4_3_a_master_hearing_priority_0_advertises_at_once",
    ),
    "6.4.3 a higher priority heard: BACKUP, by its interval": (
        "unit/test_rfc9568.py::test_6_4_3_a_master_hearing_a_higher_priority_becomes_backup",
        "unit/test_rfc9568.py::test_6_4_3_and_waits_by_the_interval_of_the_one_it_yielded_to",
    ),
    "6.4.3 an equal priority heard: the greater address, unsigned": (
        "unit/test_rfc9568.py::test_6_4_3_of_equal_priorities_the_higher_address_stays_compared_unsigned",
        "wire/test_peers.py::test_two_masters_of_equal_priority_are_settled_by_the_higher_address",
    ),
    "6.4.3 a lower priority heard: assert ourselves at once": (
        "unit/test_rfc9568.py::test_6_4_3_a_master_hearing_a_lower_priority_asserts_itself_at_once",
    ),
    "7.1 MUST verify version, length, checksum, VRID": (
        "unit/test_core_packet.py::test_what_is_wrong_is_dropped_with_its_reason",
        "unit/test_realtime_packet_filter.py::test_a_foreign_vrid_does_not_wake_us",
    ),
    "7.1 MUST verify that the interval is not 0 (erratum 8301)": (
        "unit/test_core_packet.py::test_what_is_wrong_is_dropped_with_its_reason",
    ),
    "7.1 SHOULD tell of what is discarded, at a limited rate; of another's interval": (
        "unit/test_core_packet.py::test_each_reason_is_a_counter_of_its_own",
    ),
    "7.2 MUST fill in the fields and the checksum, send to the group as protocol 112": (
        "wire/test_bytes.py::test_the_bytes_are_these",
        "wire/test_bytes.py::test_the_bytes_over_ipv6_are_these_and_we_read_them",
        "wire/test_peers.py::test_the_peer_follows_us",
    ),
    "8.1.2, 8.2.2 gratuitous ARP and neighbour advertisements MUST wait for the address": (
        "unit/test_rfc9568.py::test_6_4_2_a_backup_that_takes_over_puts_the_address_on_tells_the_neighbours_and_advertises",
    ),
    "7.1 the interval of another is no reason to drop": (
        "unit/test_rfc9568.py::test_7_1_the_interval_of_another_is_no_mistake_with_version_3",
    ),
    "8.2.2 neighbour advertisements: override, router flag as forwarding is": (
        "unit/test_control_frames.py::test_a_neighbour_advertisement_is_to_all_nodes_with_override_and_our_part_of_it_blank",
        "netns/test_ipv6.py::test_the_router_flag_is_as_the_interface_forwards",
    ),
}  # fmt: skip

RFC3768: Final = {
    "5.2.3 TTL MUST be 255, and another MUST be discarded": (
        "unit/test_realtime_packet_filter.py::test_what_passed_a_router_does_not_wake_us",
    ),
    "5.3.2 an unknown type MUST be discarded": (
        "unit/test_core_packet.py::test_what_is_wrong_is_dropped_with_its_reason",
    ),
    "5.3.6 an unknown authentication type, or another than ours, MUST be discarded": (
        "unit/test_core_packet.py::test_what_is_wrong_is_dropped_with_its_reason",
        "unit/test_rfc3768.py::test_section_7_1_a_password_where_none_is_wanted_is_refused_too",
    ),
    "5.3.8 the checksum is of the message alone": (
        "unit/test_core_packet.py::test_version_2_never_sums_the_pseudo_header",
        "wire/test_bytes.py::test_the_bytes_are_these",
    ),
    "5.3.10 authentication data of type 0: zero when sent, ignored when read": (
        "unit/test_control_frames.py::test_s2_without_authentication_the_8_bytes_are_there_and_zero_so_that_the_length_is_20",
        "unit/test_rfc3768.py::test_section_5_3_10_without_authentication_the_eight_bytes_are_not_looked_at",
    ),
    "6.1 Skew_Time and Master_Down_Interval": (
        "unit/test_rfc3768.py::test_section_6_1_skew_time_is_in_seconds_whatever_the_interval",
        "unit/test_rfc3768.py::test_section_6_1_a_backup_of_two_seconds_waits_six_and_its_skew_time",
    ),
    "6.4.2 priority 0": ("unit/test_rfc3768.py::test_section_6_4_2_priority_0_is_answered_after_skew_time",),
    "6.4.3 a higher priority heard": ("unit/test_rfc3768.py::test_section_6_4_3_a_master_yields_to_a_higher_priority",),
    "6.4.3 Adver_Timer fires": ("unit/test_rfc3768.py::test_section_6_4_3_a_master_says_its_priority_every_interval",),
    "7.1 MUST verify the authentication": (
        "unit/test_rfc3768.py::test_section_7_1_the_password_is_compared_over_eight_zero_padded_bytes",
    ),
    "7.1 another interval MUST be discarded": (
        "unit/test_rfc3768.py::test_section_7_1_an_interval_that_is_not_ours_is_dropped_from_a_stranger",
        "unit/test_rfc3768.py::test_a_members_longer_interval_is_waited_for_when_an_edit_has_reached_half_of_the_nodes",
    ),
    "7.1 MAY verify the address list": (
        "unit/test_rfc3768.py::test_section_7_1_an_address_list_that_is_not_ours_is_counted_and_still_a_sign_of_life",
    ),
    "1 IPv4 alone": ("unit/test_core_packet.py::test_there_is_no_version_2_over_ipv6",),
}  # fmt: skip

DOES_NOT_APPLY: Final = {
    "9568 5.1.1.2, 5.1.2.2 MUST NOT forward to the group": "the kernel does not forward link-local multicast",
    "9568 6.4.3, 7.2, 7.3 the virtual router MAC": "the interface's own, as keepalived's default: one address per "
    "interface, no second MAC on the port; clients are told by gratuitous ARP",
    "9568 6.1 neighbour discovery MUST NOT be dropped where Accept_Mode is false": "it is always as if true",
    "9568 6.4.2 a BACKUP MUST discard what is for the virtual router MAC": "there is none, see 7.2",
    "9568 7.4 interface identifiers MUST NOT be made of the virtual router MAC": "the same",
    "9568 8.1.2, 8.2.2 MUST NOT answer with its own MAC": "the same",
    "9568 8.2.3 MUST send the owner's router advertisement options": "not a router's job here",
    "9568 6.4.3 MUST forward what is for the virtual router MAC": "the same; a VIP here is an address, not a gateway",
    "9568 6.4.3 MUST send router advertisements": "not a router's job here",
    "9568 7.1 MUST verify that we are not the owner": "an owner that slept must let whoever took over keep it for a "
    "moment, and hears a misconfigured second owner",
    "9568 8.1.1, 8.3.1 ICMP redirects; 8.1.3, 8.3.2 proxy ARP": "the same",
    "9568 8.4 VRRPv2 beside VRRPv3 for a migration (MAY)": "an edit of the version is refused; a new VRID is migration",
    "3768 5.3.6 type 2, IP Authentication Header": "obsolete since RFC 3768 itself",
}

OFTEN_WRONG: Final = {
    "v2 skew in seconds": RFC3768["6.1 Skew_Time and Master_Down_Interval"],
    "v3 skew not rounded": RFC9568["6.1 Skew_Time and Active_Down_Interval"],
    "a lower priority never extends the timer": RFC9568["6.4.2 otherwise: discard"],
    "a repeated priority 0 does not re-arm": (
        "unit/test_rfc9568.py::test_6_4_2_priority_0_said_again_does_not_arm_the_timer_again",
    ),
    "equal priority never preempts": (
        "unit/test_core_fast_preemption.py::test_equal_priority_never_preempts_so_equal_bases_do_not_return",
    ),
    "our own address from elsewhere is an alarm": (
        "unit/test_rfc9568.py::test_7_1_our_own_address_from_elsewhere_is_dropped_and_counted",
        "unit/test_core_members.py::test_our_own_address_heard_from_elsewhere_is_an_alarm_and_counts_for_nothing",
    ),
    "preempt: false never keeps a MASTER from yielding": (
        "unit/test_rfc9568.py::test_6_4_3_preempt_mode_never_keeps_a_master_from_yielding",
    ),
    "each drop has its counter": (
        "unit/test_core_packet.py::test_each_reason_is_a_counter_of_its_own",
        "unit/test_fuzz.py::test_no_packet_raises_none_that_is_invalid_changes_anything_and_every_one_is_counted_once",
    ),
    "both checksums of v3 over IPv4": (
        "unit/test_core_packet.py::test_version_3_is_accepted_with_and_without_the_pseudo_header_in_its_checksum",
        "unit/test_realtime_router.py::test_what_was_received_is_counted_by_peer_and_by_the_form_of_its_checksum",
    ),
    "unicast without peers is FAULT": ("netns/test_unicast.py::test_without_members_it_is_fault_and_nothing_is_sent",),
    "NODAD, NOPREFIXROUTE": (
        "netns/test_ipv6.py::test_a_64_beside_the_nodes_own_takes_neither_route_nor_source_with_it",
    ),
    "weight and preempt: false": ("unit/test_api_advice.py::test_a_weight_without_preemption_names_both",),
    "PrioritySaturated": ("unit/test_api_advice.py::test_a_sum_above_254_hides_failures",),
    "WeightTooSmall": ("unit/test_api_advice.py::test_a_weight_that_does_not_bridge_the_gap_moves_nothing",),
    "a weight-0 tracker on what is behind its own VIP": (
        "unit/test_api_advice.py::test_a_failure_that_is_fault_must_not_wait_for_the_addresses_themselves",
    ),
    "process events outside the first network namespace": (
        "unit/test_tracker_process_events.py::test_in_another_network_namespace_it_is_refused_and_the_scan_does_it",
    ),
    "names with ) in /proc/PID/stat": ("unit/test_tracker_process.py::test_names_with_spaces_and_parentheses",),
    "a ConfigMap file is a symlink that is swapped": (
        "unit/test_tracker_file.py::test_a_config_map_is_followed_through_its_links",
    ),
    "notify in order, newest state last": (
        "unit/test_control_notifier.py::test_behind_a_slow_command_the_oldest_go_untold_and_never_the_newest",
    ),
}  # fmt: skip


@cache
def _names(path: str) -> frozenset[str]:
    tree = ast.parse((_TESTS / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("table", [RFC9568, RFC3768, OFTEN_WRONG], ids=["RFC 9568", "RFC 3768", "often wrong"])
def test_every_rule_has_a_test_that_exists(table: dict[str, tuple[str, ...]]) -> None:
    named = [test.partition("::") for tests in table.values() for test in tests]
    assert [f"{path}::{name}" for path, _, name in named if name not in _names(path)] == []
    assert all(table.values())


def test_every_rule_that_does_not_apply_says_why() -> None:
    assert all(DOES_NOT_APPLY.values())


@pytest.mark.parametrize("module", ["unit/test_rfc9568.py", "unit/test_rfc3768.py"])
def test_every_test_of_a_sentence_is_in_a_table(module: str) -> None:
    named = {test for table in (RFC9568, RFC3768, OFTEN_WRONG) for tests in table.values() for test in tests}
    tests = {f"{module}::{name}" for name in _names(module) if name.startswith("test_")}
    assert tests - named == set()
