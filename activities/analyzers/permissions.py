"""Programs to which the API server refuses what they need: RBAC."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import by_whom, cite_log, cite_release, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, is_troubled, log_lines, serves_badly, subjects
from cortexops.domain.kubernetes import commands, meta
from cortexops.domain.kubernetes.denials import Denial, allows, binds, denials, speaks_of
from cortexops.domain.kubernetes.values import text
from cortexops.domain.releases import release_of
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene

_LATELY = timedelta(hours=24)
_EXPLAINS = (
    Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.DEPENDENCY_DOWN, Category.SECRET_CHANGED, Category.SERVICE_MISROUTED,
    Category.INIT_CONTAINER_FAILED, Category.JOB_FAILED,
)  # fmt: skip


@analyzer("permissions")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        if not is_troubled(scene, subject) and not serves_badly(scene):
            continue
        for pod, container, previous, lines in log_lines(scene, subject):
            refused = denials(lines)
            if refused:
                cited = cite_log(
                    book, pod, container, previous, [d.line for d in refused], "tells that RBAC refuses"
                )
                found.append(_of(scene, book, subject, refused[0], cited))
                break
    return found


def _of(scene: Scene, book: EvidenceBook, subject: Subject, denial: Denial, cited: str) -> Hypothesis:
    account = scene.ref("ServiceAccount", *denial.account)
    what = f"{denial.verb} {denial.resource}" + (f" of {denial.group}" if denial.group else "")
    where = f"in namespace {denial.where}" if denial.where else "in the whole cluster"
    release = release_of(scene, subject)
    if release is not None and release.precedes(scene.onset):
        before = text(release.before, "spec", "serviceAccountName") or "default"
        after = text(release.after, "spec", "serviceAccountName") or "default"
        if before != after == account.name and account.namespace == subject.ref.namespace:
            return Hypothesis(
                resource=subject.ref,
                category=Category.RBAC_DENIED,
                summary=f"{account} may not {what} {where} (RBAC, forbidden): since revision {release.revision}"
                f" {subject.ref} runs as {after}, before as {before}",
                support=support(subject, 0.97, precedes=True),
                evidence=(cited, cite_release(book, subject, release)),
                explains=_EXPLAINS,
                facts={"verb": denial.verb, "resource": denial.resource, "account": account.name}
                | release.facts(),
            )
    culprit, why = _culprit(scene, denial, account)
    evidence = [cited]
    live = scene.get(culprit)
    write = _written(live) if live is not None else None
    evidence.append(
        book.cite(
            EvidenceKind.CHANGE if write else EvidenceKind.TOPOLOGY,
            culprit,
            why,
            at=write.at if write else None,
            command=commands.history(culprit),
        )
    )
    precedes = True if write is not None and write.at <= scene.onset else None
    return Hypothesis(
        resource=culprit,
        category=Category.RBAC_DENIED,
        summary=f"{account} may not {what} {where} (RBAC, forbidden): {why}",
        support=support(subject, 0.97, precedes=precedes, steps=1),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        facts={"verb": denial.verb, "resource": denial.resource, "account": account.name},
    )


def _culprit(scene: Scene, denial: Denial, account: ResourceRef) -> tuple[ResourceRef, str]:
    """The role that lacks it, the role that is gone, or the account that nothing binds."""
    bindings = [
        (ref, binding)
        for kind in ("RoleBinding", "ClusterRoleBinding")
        for ref, binding in scene.of_kind(kind)
        if binds(binding, denial.account) and (kind == "ClusterRoleBinding" or ref.namespace == denial.where)
    ]
    found: list[tuple[tuple[bool, bool, float, bool, str], ResourceRef, str]] = []
    for ref, binding in bindings:
        kind, name = text(binding, "roleRef", "kind"), text(binding, "roleRef", "name")
        role = scene.ref(kind, ref.namespace if kind == "Role" else "", name)
        live = scene.get(role)
        if live is None:
            missing = any(gap.reason == "no_data" and name in gap.what for gap in scene.gaps)
            if missing:
                rank = (True, True, float("inf"), kind == "Role", str(role))
                found.append((rank, role, f"{role}, to which {ref} refers, does not exist"))
            continue
        if not allows(live, denial):
            write = _written(live)
            lately = write is not None and scene.onset - _LATELY <= write.at <= scene.onset
            at = write.at.timestamp() if write else 0.0
            rank = (lately, speaks_of(live, denial), at, kind == "Role", str(role))
            since = f"; its rules were written{by_whom(write)} shortly before" if lately else ""
            found.append((rank, role, f"{role} does not grant it{since}"))
    if found:
        _, role, why = max(found, key=lambda item: item[0])
        return role, why
    return account, f"no binding in reach gives it to {account}"


def _written(role: JSON) -> meta.Write | None:
    """When its rules were last written, and by whom; of the object, where that is not kept by field. What made the
    object changed nothing that had been."""
    write = meta.writes(role, "rules") or meta.last_write(role)
    born = meta.created(role)
    return None if write is not None and born is not None and write.at <= born else write
