"""Workloads with all that their controllers make of them: ReplicaSets, revisions, Jobs, pods."""
# ruff: noqa: E501 - one condition or status a line reads best

from __future__ import annotations

import copy
from typing import Any

from tests.evals.pods import pod_status, template_of
from tests.evals.shapes import JSON, ago, hash_of, managed, merge, owner_of, uid_of


class Workloads:
    """Objects of one cluster so far. `pods` and `sets` hold names by workload (`api`, `namespace/api`)."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.objects: list[JSON] = []
        self.pods: dict[str, list[str]] = {}  # workload (`api`, `ns/api`) → names of its pods
        self.sets: dict[str, list[str]] = {}  # the same → ReplicaSets, the newest last
        self.logs: dict[tuple[str, str, str, bool], str] = {}

    def add(
        self, api: str, kind: str, name: str, namespace: str, age: str, body: JSON, **metadata: Any
    ) -> JSON:
        meta: JSON = {
            "name": name,
            "uid": uid_of(kind, namespace, name),
            "resourceVersion": str(80_000 + len(self.objects)),
        }
        if namespace:
            meta["namespace"] = namespace
        obj = {
            "apiVersion": api,
            "kind": kind,
            "metadata": {**meta, "creationTimestamp": ago(age), **metadata},
            **body,
        }
        self.objects.append(obj)
        return obj

    # -- workloads ---------------------------------------------------------------------------------

    def workload(self, key: str, short: JSON) -> None:
        kind, *rest = key.split("/")
        namespace, name = (rest[0], rest[1]) if len(rest) == 2 else (self.namespace, rest[0])
        short = dict(short or {})
        pods = [{"is": p} if isinstance(p, str) else dict(p) for p in short.get("pods", ["ok"])]
        age = short.get("age", "60d")
        labels = {"app": name, **short.get("labels", {})}
        template = template_of(name, labels, short)
        alias = name if namespace == self.namespace else f"{namespace}/{name}"
        metadata: JSON = {"labels": dict(labels), "generation": 3}
        if short.get("annotations"):
            metadata["annotations"] = dict(short["annotations"])
        metadata["managedFields"] = managed(
            short.get("managed", {}), "apps/v1" if kind not in ("Job", "CronJob") else "batch/v1"
        )
        if kind == "CronJob":
            self._cron_job(name, namespace, short, template, pods, age, metadata, alias)
            return
        if kind == "Job":
            self._job(name, namespace, short, template, pods, age, metadata, alias, None)
            return
        if kind == "Pod":
            self.pods[alias] = []
            self._pod(alias, name, namespace, template, pods[0], None, {}, age, exact=True)
            return
        ready = sum(1 for p in pods if p["is"] == "ok" and p.get("ready", True))
        wanted = short.get("replicas", len(pods))
        status: JSON = {
            "observedGeneration": 3,
            "replicas": len(pods),
            "updatedReplicas": short.get("updated", len(pods)),
        }
        if ready:
            status |= {"readyReplicas": ready, "availableReplicas": ready}
        if kind == "Deployment" and ready < wanted:
            status["unavailableReplicas"] = wanted - ready
        spec: JSON = {"replicas": wanted, "selector": {"matchLabels": {"app": name}}, "template": template}
        if kind == "Deployment":
            spec |= {
                "strategy": short.get(
                    "strategy",
                    {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
                )
            }
            spec |= {"progressDeadlineSeconds": 600, "revisionHistoryLimit": 10}
            history = [
                *short.get("history", []),
                {
                    "age": short.get("rolled", age),
                    **{k: v for k, v in short.items() if k in ("image", "c", "template")},
                },
            ]
            metadata["annotations"] = {
                **metadata.get("annotations", {}),
                "deployment.kubernetes.io/revision": str(len(history)),
            }
            status["conditions"] = [
                {
                    "type": "Available",
                    "status": "True" if ready >= max(1, wanted * 3 // 4) else "False",
                    "reason": "MinimumReplicasAvailable" if ready else "MinimumReplicasUnavailable",
                    "lastUpdateTime": ago("6m"),
                    "lastTransitionTime": ago("6m"),
                    "message": "Deployment has minimum availability."
                    if ready
                    else "Deployment does not have minimum availability.",
                },
                *short.get(
                    "conditions",
                    [
                        {
                            "type": "Progressing",
                            "status": "True",
                            "reason": "NewReplicaSetAvailable",
                            "lastUpdateTime": ago("6m"),
                            "lastTransitionTime": ago(age),
                            "message": "ReplicaSet has successfully progressed.",
                        }
                    ],
                ),
            ]
        elif kind == "StatefulSet":
            spec |= {
                "serviceName": short.get("serviceName", name),
                "podManagementPolicy": short.get("policy", "OrderedReady"),
                "updateStrategy": {"type": "RollingUpdate"},
            }
            if short.get("claims"):
                spec["volumeClaimTemplates"] = [
                    {
                        "metadata": {"name": c},
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "10Gi"}},
                        },
                    }
                    for c in short["claims"]
                ]
            history = short.get("history", [])
        else:
            spec = {
                "selector": {"matchLabels": {"app": name}},
                "template": template,
                "updateStrategy": {"type": "RollingUpdate"},
            }
            status = {
                "desiredNumberScheduled": wanted,
                "currentNumberScheduled": len(pods),
                "numberReady": ready,
                "observedGeneration": 3,
                "numberMisscheduled": 0,
                "numberUnavailable": wanted - ready,
            }
            history = short.get("history", [])
        status = merge(status, short.get("status", {}))
        spec = merge(spec, short.get("spec", {}))
        self.add("apps/v1", kind, name, namespace, age, {"spec": spec, "status": status}, **metadata)
        self.pods[alias], self.sets[alias] = [], []
        owners: list[tuple[JSON, JSON, str]] = []
        if kind == "Deployment":
            for number, entry in enumerate(history, start=1):
                newest = number == len(history)
                its = (
                    template
                    if newest
                    else template_of(
                        name,
                        labels,
                        merge({k: v for k, v in short.items() if k in ("image", "c", "template")}, entry),
                    )
                )
                suffix = hash_of(name, namespace, number, size=9)
                mine = sum(1 for p in pods if p.get("old", False) != newest)
                body = copy.deepcopy(its)
                body["metadata"]["labels"]["pod-template-hash"] = suffix
                rs = self.add(
                    "apps/v1", "ReplicaSet", f"{name}-{suffix}", namespace, entry["age"],
                    {"spec": {"replicas": mine, "selector": {"matchLabels": {"app": name, "pod-template-hash": suffix}}, "template": body},
                     "status": {"replicas": mine, "observedGeneration": 1, **({"readyReplicas": r} if (r := sum(1 for p in pods if p.get("old", False) != newest and p["is"] == "ok")) else {}), **(short.get("rs_status", {}) if newest else {})}},
                    labels=body["metadata"]["labels"], annotations={"deployment.kubernetes.io/revision": str(number), "deployment.kubernetes.io/desired-replicas": str(wanted)},
                    ownerReferences=[owner_of("apps/v1", "Deployment", name, namespace)],
                )  # fmt: skip
                self.sets[alias].append(rs["metadata"]["name"])
                owners.append((rs, body, suffix))
        else:
            for number, entry in enumerate([*history, {"age": short.get("rolled", age)}], start=1):
                newest = number == len(history) + 1
                its = (
                    template
                    if newest
                    else template_of(
                        name,
                        labels,
                        merge({k: v for k, v in short.items() if k in ("image", "c", "template")}, entry),
                    )
                )
                suffix = hash_of(name, namespace, number, size=9)
                self.add(
                    "apps/v1",
                    "ControllerRevision",
                    f"{name}-{suffix}",
                    namespace,
                    entry["age"],
                    {"data": {"spec": {"template": {**its, "$patch": "replace"}}}, "revision": number},
                    labels={"app": name, "controller-revision-hash": f"{name}-{suffix}"},
                    ownerReferences=[owner_of("apps/v1", kind, name, namespace)],
                )
                owners.append(
                    (
                        {
                            "apiVersion": "apps/v1",
                            "kind": kind,
                            "metadata": {"name": name, "namespace": namespace},
                        },
                        its,
                        f"{name}-{suffix}",
                    )
                )
        if short.get("as"):
            self._as(kind, name, namespace, short["as"])
        for index, pod in enumerate(pods):
            owner, body, suffix = owners[-2 if pod.get("old") and len(owners) > 1 else -1]
            pod_name = (
                f"{name}-{index}"
                if kind == "StatefulSet"
                else f"{owner['metadata']['name']}-{hash_of(name, namespace, 'pod', index, size=5)}"
            )
            extra = {} if kind == "Deployment" else {"controller-revision-hash": suffix}
            if kind == "StatefulSet":
                extra["statefulset.kubernetes.io/pod-name"] = pod_name
                body = copy.deepcopy(body)
                for claim in short.get("claims", []):
                    body["spec"].setdefault("volumes", []).append(
                        {"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{pod_name}"}}
                    )
            self._pod(
                alias,
                pod_name,
                namespace,
                body,
                pod,
                owner,
                extra,
                str(short.get("rolled", age) if not pod.get("old") else age),
            )

    def _as(self, kind: str, name: str, namespace: str, other: JSON) -> None:
        """The workload is of a kind that an operator brought and that makes ReplicaSets as a Deployment does."""
        for obj in self.objects:
            metadata = obj["metadata"]
            if metadata.get("namespace") != namespace:
                continue
            if obj["kind"] == kind and metadata["name"] == name:
                obj |= {"kind": other["kind"], "apiVersion": other["apiVersion"]}
                obj["status"] = other.get("status", obj["status"])
            for owner in metadata.get("ownerReferences", []):
                if owner["kind"] == kind and owner["name"] == name:
                    owner |= {"kind": other["kind"], "apiVersion": other["apiVersion"]}
                    notes = metadata.get("annotations", {})
                    if other["kind"] == "Rollout" and "deployment.kubernetes.io/revision" in notes:
                        notes["rollout.argoproj.io/revision"] = notes.pop("deployment.kubernetes.io/revision")

    def _cron_job(
        self,
        name: str,
        namespace: str,
        short: JSON,
        template: JSON,
        pods: list[JSON],
        age: str,
        metadata: JSON,
        alias: str,
    ) -> None:
        spec = merge(
            {
                "schedule": "*/30 * * * *",
                "suspend": False,
                "concurrencyPolicy": "Forbid",
                "failedJobsHistoryLimit": 1,
                "successfulJobsHistoryLimit": 3,
                "jobTemplate": {"spec": {"backoffLimit": 3, "template": template}},
            },
            short.get("spec", {}),
        )
        self.add(
            "batch/v1",
            "CronJob",
            name,
            namespace,
            age,
            {"spec": spec, "status": merge({"lastScheduleTime": ago("30m")}, short.get("status", {}))},
            **metadata,
        )
        for index, job in enumerate(short.get("jobs", [])):
            owner = owner_of("batch/v1", "CronJob", name, namespace)
            self._job(
                f"{name}-2954{index:04d}",
                namespace,
                {**short, "spec": {}, "status": {}, **job},
                template,
                [{"is": p} if isinstance(p, str) else dict(p) for p in job.get("pods", [])],
                job.get("age", "30m"),
                {"labels": {"app": name}},
                f"{alias}/{index}",
                owner,
            )

    def _job(
        self,
        name: str,
        namespace: str,
        short: JSON,
        template: JSON,
        pods: list[JSON],
        age: str,
        metadata: JSON,
        alias: str,
        owner: JSON | None,
    ) -> None:
        uid = uid_of("Job", namespace, name)
        body = copy.deepcopy(template)
        body["spec"]["restartPolicy"] = short.get("restartPolicy", "Never")
        body["metadata"]["labels"] |= {
            "controller-uid": uid,
            "job-name": name,
            "batch.kubernetes.io/job-name": name,
        }
        spec = merge(
            {
                "backoffLimit": 3,
                "completions": 1,
                "parallelism": 1,
                "selector": {"matchLabels": {"controller-uid": uid}},
                "template": body,
            },
            short.get("spec", {}),
        )
        failed = sum(1 for p in pods if p["is"] == "failed")
        done = sum(1 for p in pods if p["is"] == "done")
        status: JSON = (
            {"startTime": ago(age)}
            | ({"failed": failed} if failed else {})
            | (
                {
                    "succeeded": done,
                    "completionTime": ago("5m"),
                    "conditions": [
                        {
                            "type": "Complete",
                            "status": "True",
                            "lastProbeTime": ago("5m"),
                            "lastTransitionTime": ago("5m"),
                        }
                    ],
                }
                if done
                else {}
            )
        )
        self.add(
            "batch/v1",
            "Job",
            name,
            namespace,
            age,
            {"spec": spec, "status": merge(status, short.get("status", {}))},
            **metadata,
            **({"ownerReferences": [owner]} if owner else {}),
        )
        self.pods[alias] = []
        for index, pod in enumerate(pods):
            self._pod(
                alias,
                f"{name}-{hash_of(name, index, size=5)}",
                namespace,
                body,
                pod,
                {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": namespace}},
                {},
                age,
            )

    def _pod(
        self,
        alias: str,
        name: str,
        namespace: str,
        template: JSON,
        short: JSON,
        owner: JSON | None,
        labels: JSON,
        age: str,
        exact: bool = False,
    ) -> None:
        spec = merge(copy.deepcopy(template["spec"]), short.get("spec", {}))
        node = short.get("node", "worker-a" if len(self.pods[alias]) % 2 == 0 else "worker-b")
        if short["is"] not in ("pending",):
            spec["nodeName"] = node
        spec.setdefault("serviceAccountName", "default")
        for number, over in (short.get("c") or {}).items():
            spec["containers"][int(number)] = merge(spec["containers"][int(number)], over)
        metadata: JSON = {"labels": {**template["metadata"]["labels"], **labels}}
        if owner is not None:
            metadata["generateName"] = name.rsplit("-", 1)[0] + "-"
            metadata["ownerReferences"] = [
                owner_of(owner["apiVersion"], owner["kind"], owner["metadata"]["name"], namespace)
            ]
        metadata |= short.get("metadata", {})
        self.add(
            "v1",
            "Pod",
            name,
            namespace,
            short.get("age", age),
            {"spec": spec, "status": pod_status(spec, short, short.get("age", age), name, namespace)},
            **metadata,
        )
        self.pods[alias].append(name)

    # -- around ------------------------------------------------------------------------------------
