"""Cluster addresses and node ports of services."""

from __future__ import annotations

from ipaddress import IPv4Address

from cortexops.domain.resource import JSON
from sandbox.cluster.store import Store

_FIRST_ADDRESS = int(IPv4Address("10.96.0.10"))
_FIRST_PORT = 30000


class Addresses:
    """Hands out what no stored service holds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next_address = _FIRST_ADDRESS
        self._next_port = _FIRST_PORT

    def assign(self, service: JSON) -> None:
        """Give a service, in place, what it lacks."""
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            return
        if not spec.get("clusterIP"):
            spec["clusterIP"] = self._address()
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            for port in spec.get("ports") or []:
                if not port.get("nodePort"):
                    port["nodePort"] = self._port()

    @staticmethod
    def keep(old: JSON, new: JSON) -> None:
        """An update that does not name what was assigned keeps it."""
        before, after = old.get("spec") or {}, new.setdefault("spec", {})
        for field in ("clusterIP", "clusterIPs"):
            if not after.get(field) and before.get(field):
                after[field] = before[field]

    def _address(self) -> str:
        taken = {(s.get("spec") or {}).get("clusterIP") for s in self._store.objects("services")}
        while True:
            address = str(IPv4Address(self._next_address))
            self._next_address += 1
            if address not in taken:
                return address

    def _port(self) -> int:
        taken = {
            port.get("nodePort")
            for service in self._store.objects("services")
            for port in (service.get("spec") or {}).get("ports") or []
        }
        while True:
            port = self._next_port
            self._next_port += 1
            if port not in taken:
                return port
