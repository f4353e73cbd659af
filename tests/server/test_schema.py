"""What the server says of itself in its schema holds for whatever is sent: no fault of its own, no other form."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings

schemathesis = pytest.importorskip("schemathesis")

EXPECTED = ["2xx", "400", "401", "403", "404", "408", "413", "421", "422", "429"]
"""Bytes of which a schema cannot say whether they are a picture may be refused."""

FEW = 10
"""Requests of each kind for a page that takes nothing."""


def checked(server, cases: int) -> int:
    """Send about so many requests made of the schema, right ones and wrong ones, with all checks; return how many."""
    configuration = schemathesis.Config.from_dict(
        {"checks": {"positive_data_acceptance": {"expected-statuses": EXPECTED}}}
    )
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json", config=configuration)
    sent = 0
    for operation in [found.ok() for found in schema.get_all_operations()]:
        takes = operation.method == "post"
        for mode in schemathesis.GenerationMode if takes else [schemathesis.GenerationMode.POSITIVE]:

            @settings(max_examples=cases // 4 if takes else FEW, deadline=None, database=None, phases=[Phase.generate],
                      suppress_health_check=list(HealthCheck))  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case):
                nonlocal sent
                sent += 1
                case.call_and_validate(base_url=server.url, timeout=60)

            send()
    return sent


def test_a_hundred_requests_made_of_the_schema_are_answered_as_it_says(server):
    assert checked(server, 120) >= 100


@pytest.mark.slow
def test_ten_thousand_are(server):
    assert checked(server, 10_200) >= 10_000
