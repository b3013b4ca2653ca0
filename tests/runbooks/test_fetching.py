"""Runbooks at addresses: text of others, from named hosts only."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from aiohttp import web

from cortexops.adapters import runbook_fetch
from cortexops.adapters.runbook_fetch import HttpRunbooks, check_template
from cortexops.domain.errors import InvalidInput
from cortexops.domain.runbook import Origin
from tests.runbooks.support import SPECS, raw, server

VALUES = {"alertname": "Broken", "namespace": "shop", "kind": "Deployment"}


def source(template: str = "", *hosts: str, private: bool = True) -> HttpRunbooks:
    return HttpRunbooks(template, SPECS, allowed_hosts=hosts, allow_private=private)


async def fetched(answer, path: str = "/x.yaml") -> tuple[object, str]:
    async with server(answer) as (url, _):
        found = await source("", "127.0.0.1").fetch(url + path)
    return found.runbook, "; ".join(str(problem) for problem in found.problems)


async def test_a_runbook_is_read_once_and_marked_as_fetched() -> None:
    async with server(lambda request: web.Response(body=raw())) as (url, asked):
        its = source(url + "/{alertname}.yaml")
        address = its.address(VALUES)
        first, second = await its.fetch(address), await its.fetch(address)
    assert first.runbook is not None and first.runbook.origin is Origin.URL and first == second
    assert [request.path for request in asked] == ["/Broken.yaml"]
    assert asked[0].headers["Host"] == url.removeprefix("http://")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda r: web.Response(status=404), "there is none"),
        (lambda r: web.Response(status=500), "answers 500"),
        (lambda r: web.Response(text="<html>hello</html>", content_type="text/html"), "a page"),
        (lambda r: web.Response(body=b"  <!doctype html>"), "a page"),
        (lambda r: web.Response(body=b"#" * 400_000), "256 KiB"),
        (lambda r: web.Response(body=b"x", headers={"Content-Encoding": "gzip"}), "compressed"),
        (lambda r: web.Response(body=b"a: &a [1]\nb: *a\n"), "aliases"),
        (
            lambda r: web.Response(body=raw(steps=[{"id": "x", "title": "t", "kind": "shell"}])),
            "kind must be",
        ),
        (lambda r: web.Response(status=302, headers={"Location": "http://example.com/x"}), "another host"),
        (lambda r: web.Response(status=302, headers={"Location": "file:///etc/passwd"}), "http or https"),
        (lambda r: web.Response(status=302, headers={"Location": str(r.url)}), "more than 3"),
    ],
)
async def test_what_is_no_runbook_is_said_and_not_used(answer, words) -> None:
    runbook, told = await fetched(answer)
    assert runbook is None and words in told, told


async def test_a_redirect_on_the_same_host_is_followed() -> None:
    def answer(request: web.Request) -> web.Response:
        if request.path == "/x.yaml":
            return web.Response(status=302, headers={"Location": "/there.yaml"})
        return web.Response(body=raw())

    assert (await fetched(answer))[0] is not None


async def test_an_address_that_does_not_answer_costs_its_time_and_no_more(monkeypatch) -> None:
    monkeypatch.setattr(runbook_fetch, "_SECONDS", 0.2)

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(3)
        return web.Response()

    assert "0.2 s" in (await fetched(slow))[1]
    runbook, told = None, ""
    found = await source("", "127.0.0.1").fetch("http://127.0.0.1:1/x")
    runbook, told = found.runbook, str(found.problems)
    assert runbook is None and "ConnectError" in told


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "localhost", "169.254.169.254", "10.0.0.8", "[::ffff:10.0.0.8]"]
)
async def test_private_addresses_are_refused_unless_they_are_meant(host: str) -> None:
    found = await source("", host.strip("[]"), private=False).fetch(f"http://{host}:9/x.yaml")
    assert found.runbook is None and "private address" in str(found.problems)


async def test_a_name_that_changes_its_mind_leads_nowhere(monkeypatch) -> None:
    calls = []

    async def resolve(host, port, **more):
        calls.append(host)
        return [(2, 1, 6, "", ("127.0.0.1" if len(calls) > 1 else "203.0.113.9", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    monkeypatch.setattr(runbook_fetch, "_public", lambda address: address.startswith("203."))
    went = []

    async def get(place):
        went.append(place.address)
        return raw(), None

    monkeypatch.setattr(runbook_fetch, "_get", get)
    found = await source("https://wiki.example.com/{alertname}", private=False).fetch(
        "https://wiki.example.com/x"
    )
    assert found.runbook is not None and went == ["203.0.113.9"] and len(calls) == 1


async def test_tls_is_checked_against_the_name_in_the_address(monkeypatch) -> None:
    seen: dict[str, str] = {}

    class Client(httpx.AsyncClient):
        async def send(self, request, **more):
            seen.update(
                url=str(request.url), host=request.headers["host"], sni=request.extensions["sni_hostname"]
            )
            raise httpx.ConnectError("stop here")

    monkeypatch.setattr(httpx, "AsyncClient", Client)
    monkeypatch.setattr(runbook_fetch, "_public", lambda address: True)

    async def resolve(host, port, **more):
        return [(2, 1, 6, "", ("203.0.113.9", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    await source("https://wiki.example.com/{alertname}").fetch("https://wiki.example.com/x")
    assert seen == {"url": "https://203.0.113.9/x", "host": "wiki.example.com", "sni": "wiki.example.com"}


@pytest.mark.parametrize(
    "address",
    [
        "http://evil.example/x", "ftp://wiki/x", "file:///etc/passwd", "//wiki/x", "http://wiki@evil.example/x",
        "http://user:pass@wiki/x", "http://wiki:99999/x", "http://wiki\\@evil.example/", "http://", "javascript:x",
        "http://wiki.evil.example/x", "http://wïki/x",
    ],
)  # fmt: skip
async def test_only_hosts_of_the_settings_are_asked(address: str) -> None:
    its = source("", "wiki")
    assert not its.may_fetch(address)
    assert (await its.fetch(address)).runbook is None


@pytest.mark.parametrize("name", ["../admin", "a/b", "a?b=c", "a#b", "x y", "", "..", "a\r\nHost: evil"])
def test_a_value_that_is_no_plain_word_gives_no_address(name: str) -> None:
    assert source("http://wiki/{alertname}.yaml").address(VALUES | {"alertname": name}) == ""


@pytest.mark.parametrize(
    "template",
    ["ftp://wiki/{alertname}", "http://{alertname}.wiki/x", "http://wiki/{secret}", "wiki/{alertname}", "http://wiki/{}",
     "http://wiki/{alertname", "http://u:p@wiki/{alertname}"],
)  # fmt: skip
def test_a_template_that_is_none_is_refused_at_the_start(template: str) -> None:
    with pytest.raises(InvalidInput):
        check_template(template)


async def test_a_query_in_an_address_is_never_repeated() -> None:
    found = await source("", "127.0.0.1").fetch("http://127.0.0.1:1/x?token=hush")
    assert "hush" not in str(found)
