"""The dataclasses' half of the corpus; tests/cluster/test_validation.py asks the API server the same."""

import pytest

from validation_corpus import BAD, GOOD, STRICTER, Case, by_name
from virtualip_api.errors import InvalidResource
from virtualip_api.virtual_ip import parse_virtual_ip


@pytest.mark.parametrize("case", GOOD, ids=by_name)
def test_good_ones_are_taken(case: Case) -> None:
    assert parse_virtual_ip(case.resource()).name == case.resource_name


@pytest.mark.parametrize("case", BAD, ids=by_name)
def test_bad_ones_are_refused_with_the_field(case: Case) -> None:
    with pytest.raises(InvalidResource) as refusal:
        parse_virtual_ip(case.resource())
    assert any(error.path.startswith(case.field) for error in refusal.value.errors), str(refusal.value)


@pytest.mark.parametrize("case", STRICTER, ids=by_name)
def test_what_only_the_api_server_wants_written_otherwise_is_taken(case: Case) -> None:
    parse_virtual_ip(case.resource())
