"""Names leave as tokens and come back as they were."""

# ruff: noqa: E501 - texts as they occur
from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.pseudonyms import NameKind, Pseudonyms
from cortexops.domain.resource import ResourceRef

_K = NameKind
NAMES = [
    (_K.NAMESPACE, "shop"), (_K.WORKLOAD, "api"), (_K.WORKLOAD, "api-gateway"), (_K.HOST, "node-1"), (_K.CLUSTER, "prod-eu"),
    (_K.WORKLOAD, "db.main"), (_K.WORKLOAD, "snake_case"),
]  # fmt: skip


def made() -> Pseudonyms:
    return Pseudonyms(NAMES)


words = st.sampled_from(
    ["api", "api-gateway", "shop", "API", "node-1", "prod-eu", "db.main", "-", ".", "_", "/", ":", " ", "\n", "[[", "]]", "[[host-1]]",
     "[[workload-2]]", "[[text-1]]", "host-1", "10.0.0.12", "fe80::1", "::1", "127.0.0.1", "jane@acme.com", "db.acme.com", ".svc.cluster.local",
     "x", "1", "é", "apis", "svc", "local", "[", "]", "12:34:56", "1.2.3.4.5", "@"]
)  # fmt: skip


@given(st.lists(words, max_size=25).map("".join) | st.text(max_size=120))
def test_what_was_hidden_is_revealed_as_it_was(text: str) -> None:
    names = made()
    assert names.reveal(names.hide(text)) == text
    assert names.reveal(names.hide(text)) == text, "and a second time"


@given(st.lists(words, max_size=25).map(" ".join))
def test_no_known_name_is_left_as_a_word(text: str) -> None:
    hidden = made().hide(text)
    bare = " ".join(word for word in hidden.split() if "[[" not in word).lower()
    assert not {
        "api",
        "api-gateway",
        "shop",
        "node-1",
        "prod-eu",
        "jane@acme.com",
        "10.0.0.12",
        "db.acme.com",
    } & set(bare.split())


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("api in shop", "[[workload-1]] in [[namespace-1]]"),
        ("api-gateway calls api", "[[workload-1]] calls [[workload-2]]"),
        ("pod api-7c9d4b5f6-x7k2p", "pod [[workload-1]]-7c9d4b5f6-x7k2p"),
        ("apiVersion of apis and capi", "apiVersion of apis and capi"),
        ("api.shop.svc.cluster.local:80", "[[workload-1]].[[namespace-1]].svc.cluster.local:80"),
        ("cart.shop.svc", "[[name-1]].[[namespace-1]].svc"),
        ("db.prod.acme.com refused", "[[host-1]] refused"),
        ("dial 10.1.2.3:5432, 127.0.0.1, ::1", "dial [[address-1]]:5432, 127.0.0.1, ::1"),
        ("2001:db8::7 at 12:34:56", "[[address-1]] at 12:34:56"),
        ("mail jane.doe@acme.com", "mail [[mail-1]]"),
        ("[[host-1]] was there before", "[[text-1]] was there before"),
        ("default and kube-system are public", "default and kube-system are public"),
        ("java.io.IOException in main.py", "java.io.IOException in main.py"),
        ("API and api", "[[workload-1]] and [[workload-2]]"),
    ],
)
def test_names_are_hidden_the_longest_first(text: str, hidden: str) -> None:
    assert made().hide(text) == hidden


def test_a_name_has_one_token_for_as_long_as_the_conversation_lasts() -> None:
    names = made()
    first = names.hide("shop shop")
    assert first == "[[namespace-1]] [[namespace-1]]"
    assert names.hide("again shop") == "again [[namespace-1]]"
    assert (
        names.reveal("the model says [[namespace-1]], [[namespace-9]]")
        == "the model says shop, [[namespace-9]]"
    )


def test_names_come_from_objects() -> None:
    ref = ResourceRef(cluster="prod-eu", kind="Deployment", namespace="shop", name="till")
    node = ResourceRef(cluster="prod-eu", kind="Node", namespace="", name="ip-10-0-1-2")
    hidden = Pseudonyms.of([ref, node]).hide("till in shop of prod-eu on ip-10-0-1-2")
    assert hidden == "[[workload-1]] in [[namespace-1]] of [[cluster-1]] on [[host-1]]"


@pytest.mark.parametrize(
    "piece",
    ["a", "a-", "1.", "api-", "a:", "::", "a@", "[[", "[[host-1]]", "_", "a.com ", "x_", "a.", ".svc", "0:"],
)
def test_hostile_text_takes_time_in_proportion(piece: str) -> None:
    text = (piece * (1 << 18))[: 1 << 18]
    names = made()
    began = time.process_time()
    assert names.reveal(names.hide(text)) == text
    assert time.process_time() - began < 2.5
