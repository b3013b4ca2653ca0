"""The engine on a server: a real one, none, and one that talks nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from cortexops.adapters.policy_opa import OpaPolicy
from cortexops.domain.policy import Effect, PolicyDecision
from sandbox.engines.ports import free_port
from tests.policies.support import POLICIES, opa_arguments, opa_binary, opa_server, question


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with opa_server(opa_binary(), *opa_arguments(POLICIES)) as url:
        yield url


@asynccontextmanager
async def answering(body: str, status: str = "200 OK", delay: float = 0) -> AsyncIterator[str]:
    """A server that says the same to everybody."""

    handlers: set[asyncio.Task[Any]] = set()

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        await reader.readuntil(b"\r\n\r\n")
        try:
            async with asyncio.timeout(delay):
                await reader.read()  # until the client gives up
        except TimeoutError:
            pass
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n{body}".encode())
        writer.close()
        await writer.wait_closed()

    listener = await asyncio.start_server(reply, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    await asyncio.gather(*handlers, return_exceptions=True)


async def ask(url: str, timeout_seconds: float = 3.0) -> PolicyDecision:
    policy = OpaPolicy(url, timeout_seconds=timeout_seconds)
    try:
        return await policy.evaluate(question())
    finally:
        await policy.close()


@pytest.mark.opa
async def test_server_with_the_pack_decides(server: str):
    policy = OpaPolicy(server)
    decision = await policy.evaluate(question())
    assert (decision.effect, decision.engine) == (Effect.ALLOW, "opa")
    assert decision.revision == policy.revision != ""
    assert await policy.health() is None
    await policy.close()


@pytest.mark.opa
async def test_revision_follows_what_the_server_has_loaded():
    with opa_server(opa_binary(), *opa_arguments(POLICIES)) as url:
        policy = OpaPolicy(url)
        first = (await policy.evaluate(question())).revision
        assert (await policy.evaluate(question(attempt=2))).revision == first
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.put("/v1/data/cortexops/config/attempts", json={"most": 3})).is_success
            second = await policy.evaluate(question(attempt=4))
            extra = await http.put("/v1/policies/extra", content="package cortexops\n\nextra := 1\n")
            assert extra.is_success
            third = await policy.evaluate(question())
        assert second.reasons == ("attempts_exhausted",)
        assert len({first, second.revision, third.revision}) == 3
        await policy.close()


@pytest.mark.opa
async def test_server_without_a_decision_denies():
    with opa_server(opa_binary()) as url:
        policy = OpaPolicy(url)
        assert (await policy.evaluate(question())).reasons == ("policy_undefined",)
        assert "undefined" in (await policy.health() or "")
        await policy.close()


@pytest.mark.opa
async def test_number_that_is_none_is_a_denial(server: str):
    policy = OpaPolicy(server)
    assert (await policy.evaluate(question(confidence=float("nan")))).effect is Effect.DENY
    await policy.close()


async def test_unreachable_server_denies():
    url = f"http://127.0.0.1:{free_port()}"
    decision = await ask(url)
    assert (decision.effect, decision.reasons) == (Effect.DENY, ("policy_unreachable",))
    policy = OpaPolicy(url)
    assert await policy.health() is not None
    await policy.close()


async def test_slow_server_denies():
    async with answering('{"result": {"effect": "allow", "reasons": ["x"]}}', delay=2) as url:
        assert (await ask(url, timeout_seconds=0.3)).reasons == ("policy_timeout",)


@pytest.mark.parametrize("status", ["400 Bad Request", "500 Internal Server Error", "404 Not Found"])
async def test_http_error_denies(status: str):
    async with answering("{}", status=status) as url:
        decision = await ask(url)
    assert (decision.effect, decision.reasons) == (Effect.DENY, ("policy_error",))


async def test_server_that_shows_no_revision_denies():
    async with answering('{"result": {"effect": "allow", "reasons": ["x"]}}', status="403 Forbidden") as url:
        assert (await ask(url)).effect is Effect.DENY


@pytest.mark.parametrize(
    "body",
    ["", "no", "[]", "null", "1", '"allow"', '{"result": true}', '{"result": [{"id": 1}]}', '{"result": {}}'],
)
async def test_nonsense_denies(body: str):
    async with answering(body) as url:
        assert (await ask(url)).effect is Effect.DENY


async def test_closing_twice_is_harmless():
    policy = OpaPolicy("http://127.0.0.1:1")
    await policy.close()
    await policy.close()


@pytest.mark.opa
async def test_rules_that_disappear_while_it_runs_deny():
    rego = 'package cortexops\n\ndecision := {"effect": "allow", "reasons": ["x"]}\n'
    with opa_server(opa_binary()) as url:
        policy = OpaPolicy(url)
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.put("/v1/policies/all", content=rego)).is_success
            before = await policy.evaluate(question())
            assert (await http.delete("/v1/policies/all")).is_success
        gone = await policy.evaluate(question())
        await policy.close()
    assert before.effect is Effect.ALLOW
    assert (gone.effect, gone.reasons) == (Effect.DENY, ("policy_undefined",))


@pytest.mark.opa
async def test_server_that_disappears_while_it_runs_denies():
    with opa_server(opa_binary(), *opa_arguments(POLICIES)) as url:
        policy = OpaPolicy(url)
        assert (await policy.evaluate(question())).effect is Effect.ALLOW
    away = await policy.evaluate(question())
    assert (away.effect, away.rule) == (Effect.DENY, "fail_closed")
    assert away.reasons == ("policy_unreachable",)
    await policy.close()


@pytest.mark.opa
@pytest.mark.parametrize(
    ("rego", "reason"),
    [
        (
            'package cortexops\n\ndecision := {"effect": "allow", "reasons": ["x"]} if {\n'
            "  count([1 | some i in numbers.range(1, 90000); some j in numbers.range(1, 90000); i * j == 7]) > 0\n}\n",
            "policy_timeout",
        ),
        (
            "package cortexops\n\ndecision := 1 if input.attempt\n\ndecision := 2 if input.risk\n",
            "policy_error",
        ),
        ('package cortexops\n\ndecision := {"effect": "maybe", "reasons": ["x"]}\n', "policy_nonsense"),
        ('package cortexops\n\ndecision := {"effect": "allow", "reasons": []}\n', "policy_without_reason"),
    ],
)
async def test_rules_that_misbehave_on_the_server_deny(rego: str, reason: str):
    with opa_server(opa_binary()) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.put("/v1/policies/bad", content=rego)).is_success
        decision = await ask(url, timeout_seconds=1.0)
    assert (decision.effect, decision.reasons, decision.rule) == (Effect.DENY, (reason,), "fail_closed")
