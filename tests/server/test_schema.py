"""What the server says of itself in its schema holds for whatever is sent: no fault of its own, no other form."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings

schemathesis = pytest.importorskip("schemathesis")

CASES = int(os.environ.get("VISUS_SCHEMA_CASES", "120"))
"""Requests, about; ``benchmarks/serving.py schema`` sends ten thousand."""

EXPECTED = ["2xx", "400", "401", "403", "404", "408", "413", "421", "422", "429"]
"""Bytes of which a schema cannot say whether they are a picture may be refused."""

FEW = 10
"""Requests of each kind for a page that takes nothing."""


def test_requests_made_of_the_schema_right_ones_and_wrong_ones_are_answered_as_it_says(server):
    refused = [status for status in EXPECTED if status != "2xx"]
    configuration = schemathesis.Config.from_dict({"checks": {
        "positive_data_acceptance": {"expected-statuses": EXPECTED},
        "negative_data_rejection": {"expected-statuses": refused},
    }})  # fmt: skip
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json", config=configuration)
    operations = [found.ok() for found in schema.get_all_operations()]
    taking = [operation for operation in operations if operation.method == "post"]
    sent = 0
    for operation in operations:
        takes = operation in taking
        modes = list(schemathesis.GenerationMode) if takes else [schemathesis.GenerationMode.POSITIVE]
        for mode in modes:

            @settings(max_examples=-(-CASES // (len(taking) * len(modes))) if takes else FEW, deadline=None,
                      database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case):
                nonlocal sent
                sent += 1
                case.call_and_validate(base_url=server.url, timeout=60)

            send()
    print(f"{sent:,} requests")
    assert sent >= CASES
