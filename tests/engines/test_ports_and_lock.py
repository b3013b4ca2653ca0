"""Ports that stay, and one owner per folder."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from cortexops.domain.errors import Conflict, InvalidInput
from sandbox.engines.lock import DataLock
from sandbox.engines.ports import NAMES, PortBook, free_port, free_ports, is_free


def test_ports_are_distinct_and_the_same_at_the_next_start(tmp_path: Path) -> None:
    first = PortBook(tmp_path / "ports.json")
    first.settle()
    chosen = [first[name] for name in NAMES]
    assert len(set(chosen)) == len(NAMES)
    again = PortBook(tmp_path / "ports.json")
    again.settle()
    assert [again[name] for name in NAMES] == chosen
    assert again.settle() is False


def test_a_remembered_port_that_is_taken_since_is_replaced(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        before = taken.getsockname()[1]
        assert not is_free(before)
        (tmp_path / "ports.json").write_text(json.dumps({"nats": before}))
        book = PortBook(tmp_path / "ports.json")
        assert book.settle() is True
    assert book["nats"] != before


@pytest.mark.parametrize("content", ["", "[]", '{"nats": "x", "postgres": 99999}'])
def test_an_unreadable_memory_of_ports_is_no_obstacle(tmp_path: Path, content: str) -> None:
    (tmp_path / "ports.json").write_text(content)
    book = PortBook(tmp_path / "ports.json")
    book.settle()
    assert is_free(book["nats"])


@pytest.mark.parametrize(
    "ports", [{"redis": 5}, {"nats": 0}, {"nats": 70_000}, {"nats": 5000, "postgres": 5000}]
)
def test_impossible_ports_are_refused(tmp_path: Path, ports: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        PortBook(tmp_path / "ports.json", ports)


def test_a_free_port_avoids_those_named() -> None:
    port = free_port()
    assert free_port(frozenset({port})) != port


def test_several_free_ports_are_different_ones() -> None:
    ports = free_ports(200)
    assert len(set(ports)) == len(ports) == 200


def test_a_folder_has_one_owner_until_it_is_given_free(tmp_path: Path) -> None:
    first, second = DataLock(tmp_path), DataLock(tmp_path)
    first.acquire()
    with pytest.raises(Conflict, match="already in use by pid"):
        second.acquire()
    first.release()
    second.acquire()
    assert second.held
    second.release()
