"""Endpoints and EndpointSlices of Services with a selector."""

from __future__ import annotations

from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.base import Controller
from sandbox.cluster.controllers.objects import is_ready, key_of, labels_match, owner_reference


class EndpointsController(Controller):
    """Writes which pods stand behind each Service, ready and not ready apart."""

    def register(self) -> None:
        self.services = self.context.informers["Service"]
        self.pods = self.context.informers["Pod"]
        self.endpoints = self.context.informers["Endpoints"]
        self.slices = self.context.informers["EndpointSlice"]
        self._without_slices = False
        self.pods.add_index("namespace", lambda pod: [pod["metadata"]["namespace"]])
        self.services.add_index("namespace", lambda service: [service["metadata"]["namespace"]])
        self.services.on_change(self.enqueue)
        self.pods.on_change(self._pod_changed)

    def _pod_changed(self, old: JSON | None, new: JSON | None) -> None:
        if old is not None and new is not None and _shown(old) == _shown(new):
            return
        pod = new if new is not None else old
        if pod is None:
            return
        for service in self.services.find("namespace", pod["metadata"]["namespace"]):
            selector = service["spec"].get("selector")
            if selector and labels_match(selector, pod["metadata"].get("labels")):
                self.queue.add(key_of(service))

    async def reconcile(self, key: str) -> float | None:
        service = self.services.get(key)
        if service is None or not service["spec"].get("selector"):
            if service is None and (stale := self.endpoints.get(key)) is not None:
                await self.context.delete("Endpoints", stale)
            return None
        pods = sorted(
            (
                pod
                for pod in self.pods.find("namespace", service["metadata"]["namespace"])
                if _behind(service, pod)
            ),
            key=lambda pod: str(pod["metadata"]["name"]),
        )
        await self._write_endpoints(service, pods)
        if not self._without_slices:
            try:
                await self._write_slice(service, pods)
            except InvalidInput:
                self._without_slices = True  # an older server: Endpoints alone must do
        return None

    async def _write_endpoints(self, service: JSON, pods: list[JSON]) -> None:
        subset: JSON = {}
        for field, ready in (("addresses", True), ("notReadyAddresses", False)):
            listed = [_address(pod) for pod in pods if is_ready(pod) is ready]
            if listed:
                subset[field] = listed
        ports = _ports(service, pods)
        if subset and ports:
            subset["ports"] = ports
        subsets = [subset] if subset else []
        known = self.endpoints.get(key_of(service))
        if known is None:
            meta = service["metadata"]
            await self.context.create(
                "Endpoints",
                {
                    "apiVersion": "v1",
                    "kind": "Endpoints",
                    "metadata": {
                        "name": meta["name"],
                        "namespace": meta["namespace"],
                        "labels": dict(meta.get("labels") or {}),
                    },
                    "subsets": subsets,
                },
            )
        elif (known.get("subsets") or []) != subsets:
            await self.context.replace("Endpoints", {**known, "subsets": subsets})

    async def _write_slice(self, service: JSON, pods: list[JSON]) -> None:
        meta = service["metadata"]
        name = f"{meta['name']}-endpoints"
        endpoints = [
            {
                "addresses": [pod["status"]["podIP"]],
                "conditions": {
                    "ready": is_ready(pod),
                    "serving": is_ready(pod),
                    "terminating": bool(pod["metadata"].get("deletionTimestamp")),
                },
                "nodeName": pod["spec"].get("nodeName", ""),
                "targetRef": _address(pod)["targetRef"],
            }
            for pod in pods
        ]
        ports = _ports(service, pods)
        known = self.slices.get(f"{meta['namespace']}/{name}")
        if known is None:
            owner = owner_reference(service, "v1", "Service")
            await self.context.create(
                "EndpointSlice",
                {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "name": name,
                        "namespace": meta["namespace"],
                        "labels": {
                            "kubernetes.io/service-name": meta["name"],
                            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                        },
                        "ownerReferences": [owner],
                    },
                    "addressType": "IPv4",
                    "endpoints": endpoints,
                    "ports": ports,
                },
            )
        elif (known.get("endpoints") or [], known.get("ports") or []) != (endpoints, ports):
            await self.context.replace("EndpointSlice", {**known, "endpoints": endpoints, "ports": ports})


def _behind(service: JSON, pod: JSON) -> bool:
    status = pod.get("status") or {}
    return (
        bool(status.get("podIP"))
        and status.get("phase") not in ("Succeeded", "Failed")
        and not pod["metadata"].get("deletionTimestamp")
        and labels_match(service["spec"]["selector"], pod["metadata"].get("labels"))
    )


def _shown(pod: JSON) -> tuple[object, ...]:
    status = pod.get("status") or {}
    meta = pod["metadata"]
    return (
        status.get("podIP"),
        status.get("phase"),
        is_ready(pod),
        meta.get("deletionTimestamp"),
        meta.get("labels"),
    )


def _address(pod: JSON) -> JSON:
    meta = pod["metadata"]
    target = {"kind": "Pod", "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}
    return {"ip": pod["status"]["podIP"], "nodeName": pod["spec"].get("nodeName", ""), "targetRef": target}


def _ports(service: JSON, pods: list[JSON]) -> list[JSON]:
    ports: list[JSON] = []
    for port in service["spec"].get("ports") or ():
        target = port.get("targetPort", port["port"])
        if isinstance(target, str):
            found = next((number for pod in pods for number in _named(pod, target)), None)
            if found is None:
                continue
            target = found
        entry: JSON = {"port": target, "protocol": port.get("protocol", "TCP")}
        ports.append({"name": port["name"], **entry} if port.get("name") else entry)
    return ports


def _named(pod: JSON, name: str) -> list[int]:
    return [
        int(port["containerPort"])
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or ()
        if port.get("name") == name
    ]
