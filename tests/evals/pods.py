"""Pod templates and pod statuses in the shape that the kubelet and the scheduler give them."""
# ruff: noqa: E501 - one condition or status a line reads best

from __future__ import annotations

from tests.evals.shapes import JSON, NOW, ago, hash_of, merge, span, uid_of


def template_of(name: str, labels: JSON, short: JSON) -> JSON:
    container = {
        "name": name, "image": short.get("image", f"registry.acme.dev/shop/{name}:1.8.2"), "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    }  # fmt: skip
    spec: JSON = {
        "containers": [merge(container, short.get("c", {})), *short.get("sidecars", [])],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
    }
    if short.get("init"):
        spec["initContainers"] = short["init"]
    return {
        "metadata": {"creationTimestamp": None, "labels": dict(labels)},
        "spec": merge(spec, short.get("template", {})),
    }


def ended(short: JSON, at: str, ran: str = "4s") -> JSON:
    code = short.get("code", 1)
    finished = NOW - span(at)
    return {
        "exitCode": code, "reason": short.get("reason", "OOMKilled" if short["is"] == "oom" else "Error" if code else "Completed"),
        **({"message": short["message"]} if short.get("message") and short["is"] in ("crash", "oom", "failed", "init-crash", "start-error") else {}),
        "startedAt": (finished - span(short.get("ran", ran))).strftime("%Y-%m-%dT%H:%M:%SZ"), "finishedAt": finished.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "containerID": "containerd://5f0c",
    }  # fmt: skip


def pod_status(spec: JSON, short: JSON, age: str, pod: str, namespace: str) -> JSON:
    state, restarts = (
        short["is"],
        short.get("restarts", 7 if short["is"] in ("crash", "oom", "init-crash", "start-error") else 0),
    )
    broken = short.get("container", spec["containers"][0]["name"])
    since = ago(short.get("since", "8m"))
    if state in ("oom",):
        short = {"code": 137, **short}
    base_age = ago(age)
    running: JSON = {"running": {"startedAt": ago(short.get("started", age))}}

    def status(
        name: str, image: str, own: JSON, *, ready: bool, count: int = 0, last: JSON | None = None
    ) -> JSON:
        return {
            "name": name,
            "image": image,
            "imageID": "",
            "ready": ready,
            "started": "running" in own,
            "restartCount": count,
            "state": own,
            "lastState": {"terminated": last} if last else {},
        }

    inits, mains = spec.get("initContainers", []), spec["containers"]
    init_statuses = [
        status(
            c["name"],
            c["image"],
            {
                "terminated": {
                    "exitCode": 0,
                    "reason": "Completed",
                    "startedAt": base_age,
                    "finishedAt": base_age,
                }
            },
            ready=True,
        )
        for c in inits
    ]
    waiting = {
        "waiting": {
            "reason": "PodInitializing" if inits and state.startswith("init") else "ContainerCreating"
        }
    }
    phase, ready, scheduled, initialized = "Running", False, True, True
    statuses: list[JSON] = []
    for c in mains:
        own: JSON = running
        count, last, its_ready = 0, None, True
        if state in ("pending",):
            break
        if c["name"] == broken:
            if state == "ok":
                count, its_ready = restarts, short.get("ready", True)
                if restarts:
                    last = ended(
                        {"is": "crash", **short.get("last", {})}, short.get("last", {}).get("at", "4d")
                    )
                    if "started" not in short:
                        own = {"running": {"startedAt": ago(short.get("last", {}).get("at", "4d"))}}
            elif state == "unready":
                its_ready, count = False, restarts
                if restarts:
                    last = ended(
                        {"is": "crash", **short.get("last", {})}, short.get("last", {}).get("at", "4m"), "60s"
                    )
            elif state in ("crash", "oom", "start-error"):
                its_ready, count = False, restarts
                last = ended(short, short.get("at", "2m"))
                own = {
                    "waiting": {
                        "reason": "CrashLoopBackOff",
                        "message": f"back-off 5m0s restarting failed container={c['name']} pod={pod}_{namespace}({uid_of('Pod', namespace, pod)})",
                    }
                }
                if short.get("running"):
                    own = {"running": {"startedAt": ago("1m")}}
            elif state in ("pull", "config", "waiting"):
                its_ready = False
                reason = {"pull": "ImagePullBackOff", "config": "CreateContainerConfigError"}.get(
                    state, ""
                ) or short["reason"]
                reason = short.get("reason", reason)
                message = short.get("message", f'Back-off pulling image "{c["image"]}"')
                own = {"waiting": {"reason": reason, "message": message}}
                phase = "Pending"
            elif state in ("done", "failed"):
                its_ready = False
                own = {
                    "terminated": ended(
                        {**short, "code": 0 if state == "done" else short.get("code", 1)},
                        short.get("at", "5m"),
                        "60s",
                    )
                }
                phase = "Succeeded" if state == "done" else "Failed"
                count = restarts
            elif state == "creating" or state.startswith("init"):
                its_ready, own, phase = False, waiting, "Pending"
        elif state in ("creating", "done", "failed") or state.startswith("init"):
            its_ready, own = (
                False,
                (
                    waiting
                    if state == "creating" or state.startswith("init")
                    else {"terminated": {"exitCode": 0, "reason": "Completed"}}
                ),
            )
        statuses.append(status(c["name"], c["image"], own, ready=its_ready, count=count, last=last))
    if state.startswith("init"):
        initialized = False
        name = short.get("container", inits[0]["name"])
        for place, c in enumerate(inits):
            if c["name"] == name:
                own = {
                    "waiting": {
                        "reason": "CrashLoopBackOff",
                        "message": f"back-off 5m0s restarting failed container={name} pod={pod}_{namespace}({uid_of('Pod', namespace, pod)})",
                    }
                }
                own = {"running": {"startedAt": ago(age)}} if state == "init-running" else own
                init_statuses[place] = status(
                    name,
                    c["image"],
                    own,
                    ready=False,
                    count=restarts,
                    last=None if state == "init-running" else ended(short, "2m"),
                )
            elif place > [i["name"] for i in inits].index(name):
                init_statuses[place] = status(
                    c["name"], c["image"], {"waiting": {"reason": "PodInitializing"}}, ready=False
                )
    if state == "pending":
        phase, scheduled = "Pending", False
    if state == "evicted":
        return {
            "phase": "Failed",
            "reason": "Evicted",
            "message": short["message"],
            "startTime": base_age,
            "conditions": [
                {
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "TerminationByKubelet",
                    "message": short["message"],
                    "lastTransitionTime": since,
                }
            ],
        }
    ready = bool(statuses) and all(s["ready"] for s in statuses) and state not in ("done", "failed")
    lost = state == "lost"
    reason = {"done": "PodCompleted", "failed": "PodFailed"}.get(state, "ContainersNotReady")
    unready: JSON = (
        {}
        if ready and not lost
        else {"reason": reason, "message": f"containers with unready status: [{broken}]"}
    )
    conditions = [
        {
            "type": "PodScheduled",
            "status": "True" if scheduled else "False",
            "lastProbeTime": None,
            "lastTransitionTime": base_age,
            **({} if scheduled else {"reason": "Unschedulable", "message": short["message"]}),
        }
    ]
    if scheduled:
        good = "True" if ready and not lost else "False"
        conditions += [
            {"type": "Initialized", "status": "True" if initialized else "False", "lastProbeTime": None, "lastTransitionTime": base_age, **({} if initialized else {"reason": "ContainersNotInitialized"})},
            {"type": "Ready", "status": good, "lastProbeTime": None, "lastTransitionTime": base_age if good == "True" else since, **unready},
            {"type": "ContainersReady", "status": good, "lastProbeTime": None, "lastTransitionTime": base_age if good == "True" else since, **unready},
        ]  # fmt: skip
    return {
        "phase": phase,
        "conditions": conditions,
        **(
            {
                "hostIP": "10.0.0.4",
                "podIP": f"10.244.1.{int(hash_of(pod, size=2).encode().hex(), 16) % 250}",
                "startTime": base_age,
            }
            if scheduled
            else {}
        ),
        **({"initContainerStatuses": init_statuses} if inits and scheduled else {}),
        **({"containerStatuses": statuses} if statuses else {}),
        "qosClass": "Burstable",
        **short.get("status", {}),
    }
