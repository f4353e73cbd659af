"""Whom the server listens to, and what it tells browsers."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::2]", "]["])
def test_a_name_that_is_not_its_own_is_refused(client, host):
    answer = client.get("/health", headers={"host": host})
    assert (answer.status_code, answer.json()["error"]["code"]) == (421, "SERVE-008")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://[", "file://"])
def test_a_page_of_another_server_is_refused(client, origin):
    answer = client.post("/predict", content=b"x", headers={"origin": origin})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "SERVE-009")


def test_its_own_page_is_not(client, server):
    assert client.get("/health", headers={"origin": server.url}).status_code == 200


@pytest.mark.parametrize("address", ["/", "/page.js", "/docs", "/health", "/nowhere", "/predict"])
def test_every_answer_forbids_browsers_what_the_page_does_not_need(client, address):
    headers = client.get(address).headers
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"] and headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers
