"""Programs that fail on a value of a ConfigMap or Secret that was changed before they started.

The change may be hours older than the trouble: running pods do not notice, the next restart does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_end, cite_log, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import (
    Subject,
    Trouble,
    alerted_at,
    log_lines,
    serves_badly,
    subjects,
    template_spec,
    troubles,
)
from cortexops.domain.kubernetes import commands, complaints, last_words, meta, pods
from cortexops.domain.kubernetes.mentions import Mention, distinct, mention, unset_names
from cortexops.domain.kubernetes.references import ConfigUse, config_uses
from cortexops.domain.kubernetes.values import latest, objects, text, texts
from cortexops.domain.redaction import secret_name
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.sharing import (
    failing_with_it,
    leads_to_services,
    misspells_service,
    names_living_service,
    names_nobody_else,
    refused_by_store,
    unknown_and_not_given,
    without_right_addresses,
)

_EXPLAINS = (
    Category.CRASH,
    Category.CRASH_SINCE_RELEASE,
    Category.BAD_ROLLOUT,
    Category.READINESS_PROBE,
    Category.LIVENESS_PROBE,
    Category.DEPENDENCY_DOWN,
    Category.EXTERNAL_DEPENDENCY,
    Category.SERVICE_MISROUTED,
)
_EXPLAINS_UNCHANGED = (Category.CRASH, Category.READINESS_PROBE, Category.LIVENESS_PROBE)
"""A value that nobody is known to have touched does not outrank a release or a dependency that is down."""
_BORN_TOGETHER = timedelta(minutes=2)  # objects of one deployment are applied within this span
_SUSPECT_ALONE = timedelta(hours=24)  # an older change is no lead unless the program complains about it
_RAN_WELL = 600.0  # seconds; a program that ran this long with a value can work with it
_ADDRESS_RIGHT = 0.5  # where it was reached and refused the credentials, its address is not what is wrong
_LAST_WORDS = 8  # lines
_SLACK = timedelta(minutes=1)  # clocks
_NAMES = re.compile(r"[A-Za-z][\w.-]+")
_REFUSED = "tells that what it signs in with was refused"  # no name of a secret: a mask would eat the line
_REFUSED_THERE = "tells whose sign-in it refused"


class Complaint(NamedTuple):
    """Log lines that name what a ConfigMap or Secret gives. `key` is empty when none can be told."""

    key: str
    how: str
    pod: ResourceRef
    container: str
    previous: bool
    lines: tuple[str, ...]
    strength: float
    shows_value: bool = False
    credentials: bool = False


@analyzer("crash_by_configuration")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        failing = [
            trouble
            for trouble in troubles(scene, subject)
            if trouble.state.waiting not in pods.PULL_REASONS | pods.CONFIG_REASONS
            and not any(end and end.out_of_memory for end in (trouble.state.ended, trouble.state.last))
        ]
        unready = [ref for ref, pod in subject.pods if pods.is_unready(pod)]
        if not failing and not unready and not serves_badly(scene):
            continue
        uses: dict[tuple[str, str], list[ConfigUse]] = {}
        for use in config_uses(template_spec(subject)):
            uses.setdefault((use.kind, use.name), []).append(use)
        for (kind, name), its_uses in uses.items():
            ref = scene.ref(kind, subject.ref.namespace, name)
            hypothesis = _of_source(scene, book, subject, ref, its_uses, failing)
            if hypothesis is not None:
                found.append(hypothesis)
    return without_right_addresses(scene, found)


def _of_source(
    scene: Scene,
    book: EvidenceBook,
    subject: Subject,
    ref: ResourceRef,
    uses: list[ConfigUse],
    failing: list[Trouble],
) -> Hypothesis | None:
    obj = scene.get(ref)
    if obj is None:
        return None
    readers = {use.container for use in uses}
    cases = [trouble for trouble in failing if trouble.state.name in readers]
    if failing and not cases:
        return None
    complaint = _complaint(scene, subject, obj, uses)
    write = _change(subject, scene.revisions(subject.ref), obj, complaint.key if complaint else "")
    if write is None and complaint is None:
        return None
    changed = write.at if write else None
    seen = complaint is not None and complaint.shows_value
    stale = complaint is not None and ref.kind == "Secret" and complaint.credentials
    mounted = complaint is not None and complaint.strength >= 0.9 and all(use.path for use in uses)
    if (
        changed is not None
        and changed > _last_start(scene, cases, subject)
        and not (seen or stale or mounted)
    ):
        changed = None  # written after the failing run began: it cannot have read it
    held = changed is not None and stale and changed > _last_start(scene, cases, subject)
    if changed is not None and changed > scene.onset + _SLACK and changed > alerted_at(scene):
        changed = None  # the trouble was there before
    if complaint is None and changed is not None and changed < scene.onset - _SUSPECT_ALONE:
        return None
    if complaint is None and not cases and not any(pods.is_unready(pod) for _, pod in subject.pods):
        return None  # all pods serve, and nothing that they say points here
    serving = serves_badly(scene) and complaint is not None
    well = changed is not None and not serving and _ran_well_since(changed, subject, cases, readers)
    if changed is None and (complaint is None or complaint.strength < 0.8):
        return None
    right = complaint is not None and names_living_service(scene, subject, obj, complaint.key)
    typo = (
        complaint is not None
        and (complaint.shows_value or bool(complaints.resolving(complaint.lines)))
        and misspells_service(scene, subject, obj, complaint.key, complaint.lines)
    )
    direct = _direct(complaint, changed=changed is not None, drifted=_drifted(obj, complaint), typo=typo)
    sharing = failing_with_it(scene, subject, ref) if complaint is not None and changed is None else []
    if (
        sharing
        and complaint is not None
        and not right
        and names_nobody_else(scene, subject, obj, complaint.key)
    ):
        direct, typo = max(direct, 0.92 * complaint.strength), True
    if right:
        direct = min(direct, 0.55)
    if direct < 0.45 or (
        complaint and leads_to_services(scene, subject, complaint, changed=changed is not None)
    ):
        return None
    evidence = _evidence(book, ref, obj, write if changed else None, complaint, cases)
    if sharing:
        evidence.append(
            book.cite(
                EvidenceKind.STATUS, ref, f"other workloads that read {ref} crash, too: {sharing[0]}",
                command=commands.describe(sharing[0]),
            )
        )  # fmt: skip
    against = []
    if well:
        ran = f"containers of {subject.ref} that started after {ref} was changed ran well with it"
        shown = commands.describe(subject.ref)
        against.append(book.cite(EvidenceKind.STATUS, subject.ref, ran, command=shown))
    category = Category.CONFIGMAP_CHANGED if ref.kind == "ConfigMap" else Category.SECRET_CHANGED
    facts = {ref.kind.lower(): ref.name, "key": complaint.key if complaint else ""}
    if cases:
        facts |= {"container": cases[0].state.name, "pod": cases[0].pod.name}
    before = meta.applied_values(obj).get(facts["key"])
    if before is not None and before != texts(obj, "data").get(facts["key"]) and ref.kind == "ConfigMap":
        facts["previous_value"] = before
    if held:
        facts |= {"holder_kind": subject.ref.kind, "holder": subject.ref.name}
    if write is not None and changed is not None:
        facts |= {"changed_at": changed.isoformat(), "changed_by": write.manager}
    return Hypothesis(
        resource=ref,
        category=category,
        summary=_summary(ref, subject, complaint, changed, write.manager if write else "", cases, held=held)
        + ("; pods that started before hold the old value and need a restart" if held else ""),
        support=support(subject, direct, precedes=True if changed is not None else None, steps=1),
        evidence=tuple(evidence),
        against=tuple(against),
        explains=_explains(complaint, blamed=typo or (changed is not None and not well)),
        container=cases[0].state.name if cases else "",
        facts={key: value for key, value in facts.items() if value},
    )


def _explains(complaint: Complaint | None, *, blamed: bool) -> tuple[Category, ...]:
    if complaint is None:
        return ()
    return _EXPLAINS if blamed else _EXPLAINS_UNCHANGED


def _direct(complaint: Complaint | None, *, changed: bool, drifted: bool, typo: bool) -> float:
    """Both signs, change and complaint, are proof; one alone is a lead."""
    if complaint is None:
        return 0.55 if changed else 0.0
    if changed:
        return 0.7 + 0.3 * complaint.strength
    if drifted or typo:
        return 0.9 * complaint.strength
    # a value that the program calls bad is bad; one that merely names who does not answer may be right
    return (
        0.7 if complaints.unreachable(complaint.lines) or complaint.credentials else 0.88
    ) * complaint.strength


def _drifted(obj: JSON, complaint: Complaint | None) -> bool:
    """The live value is not the one that was applied: somebody changed it by hand."""
    applied = meta.applied_values(obj)
    key = complaint.key if complaint else ""
    return key in applied and applied[key] != texts(obj, "data").get(key)


def _change(
    subject: Subject, revisions: list[tuple[int, ResourceRef, JSON]], obj: JSON, key: str
) -> meta.Write | None:
    """When the object (that key of it) was changed after the workload was made, as far as is recorded."""
    write = meta.key_writes(obj).get(key) if key else None
    write = write or meta.last_write(obj)
    born = meta.created(obj)
    if write is None:
        return None
    made = latest(meta.created(subject.obj), *(meta.created(rs) for _, _, rs in revisions))
    if (
        born is not None
        and write.at - born <= timedelta(seconds=2)
        and (made is None or born <= made + _BORN_TOGETHER)
    ):
        return None  # it was created with the workload and never touched again
    return write


def _last_start(scene: Scene, cases: list[Trouble], subject: Subject) -> datetime:
    """When the failing run began, at the latest."""
    if scene.clocks_apart:
        return datetime.max.replace(tzinfo=UTC)
    times = [
        time
        for case in cases
        for time in (
            case.state.running_since,
            *(end.started for end in (case.state.ended, case.state.last) if end is not None),
            *(end.at for end in (case.state.ended, case.state.last) if end is not None),
        )
        if time is not None
    ]
    times += [at for _, pod in subject.pods if not cases and (at := meta.created(pod)) is not None]
    return max(times, default=datetime.max.replace(tzinfo=UTC))


def _ran_well_since(
    changed: datetime, subject: Subject, cases: list[Trouble], readers: Iterable[str]
) -> bool:
    """Whether some run that began after the change served, or lasted."""
    failing = {case.pod for case in cases}
    serving = [
        state
        for ref, pod in subject.pods
        if pods.is_ready(pod) and ref not in failing
        for state in pods.container_states(pod)
        if state.name in readers and state.ready
    ]
    if any(state.running_since is not None and state.running_since > changed for state in serving):
        return True
    return any(
        end is not None
        and end.started is not None
        and end.started > changed
        and (end.seconds or 0) > _RAN_WELL
        for case in cases
        for end in (case.state.ended, case.state.last)
    )


def _complaint(scene: Scene, subject: Subject, obj: JSON, uses: list[ConfigUse]) -> Complaint | None:
    """The strongest mention of the object's keys, variables, values or files in a complaining line."""
    readers = {use.container for use in uses}
    best: Complaint | None = None
    for pod, container, previous, lines in log_lines(scene, subject):
        if container not in readers:
            continue
        complaining = complaints.complaining(lines)
        if complaining and previous:  # the last words of a run that died explain the complaint among them
            complaining = list(dict.fromkeys([*complaining, *lines[-_LAST_WORDS:]]))
        clients = set(complaints.of_sign_ins(lines))  # whose credentials those are, not the program's own
        complaining = [line for line in complaining if line not in clients]
        refused = complaints.about_credentials(complaining)
        for line in complaining[-40:]:
            found = mention(obj, uses, line) or _removed(scene, subject, obj, uses, line)
            if found is not None and found.strength < 1 and refused and line not in refused:
                found = found._replace(strength=round(found.strength * _ADDRESS_RIGHT, 2))
            if found is not None and (best is None or found.strength > best.strength):
                value = texts(obj, "data").get(found.key, "").strip()
                shows = distinct(value) and value.lower() in line.lower()
                about = any(u.kind == "Secret" for u in uses) and bool(complaints.about_credentials([line]))
                best = Complaint(
                    found.key, found.how, pod, container, previous, (line,), found.strength, shows, about
                )
        if any(use.kind == "Secret" for use in uses) and (best is None or best.strength < 0.9):
            refused = [line for line in complaints.about_credentials(lines) if line not in clients]
            refused = refused or (unknown_and_not_given(subject, lines) if _was_changed(obj) else [])
            if refused and _holds_credentials(obj, uses):
                last = (refused[-1],)
                best = Complaint("", _REFUSED, pod, container, previous, last, 0.9, credentials=True)
    if best is None and any(use.kind == "Secret" for use in uses) and _was_changed(obj):
        told = refused_by_store(scene, subject, _users(subject)) if _holds_credentials(obj, uses) else None
        if told is not None:
            best = Complaint("", _REFUSED_THERE, *told[:3], (told[3],), 0.85, credentials=True)
    return best


def _users(subject: Subject) -> set[str]:
    """Whom it may sign in as: its own name, and what its variables hold or name in an address."""
    found = {subject.ref.name}
    for container in pods.containers(template_spec(subject)):
        for entry in objects(container, "env"):
            found |= set(_NAMES.findall(text(entry, "value")))
    return found


def _was_changed(obj: JSON) -> bool:
    """Whether anybody wrote it after it was made."""
    born, write = meta.created(obj), meta.last_write(obj)
    return born is not None and write is not None and write.at - born > timedelta(seconds=2)


def _holds_credentials(obj: JSON, uses: list[ConfigUse]) -> bool:
    """Whether what the program takes from the Secret may be a credential at all; certificates are none."""
    taken = [use.key for use in uses if use.key] or list(obj.get("data") or {})
    return not taken or not all(key.endswith((".crt", ".pem", ".cert")) for key in taken)


def _removed(scene: Scene, subject: Subject, obj: JSON, uses: list[ConfigUse], line: str) -> Mention | None:
    """A variable that the line misses, which nothing gives any more, while this object was changed lately.

    Of several objects that could have given it, the one written last before the trouble is meant.
    """
    if not any(not use.key and use.env == "" and not use.path for use in uses):
        return None
    missing = [name for name in unset_names(line) if name not in _given(scene, subject)]
    if not missing:
        return None
    applied = meta.applied_values(obj)
    if missing[0] in applied:
        return Mention(missing[0], f"misses {missing[0]}, which was in it", 1.0)
    whole = [use for use in config_uses(template_spec(subject)) if not use.key and not use.path]
    written = {
        use.name: write.at
        for use in whole
        if (live := scene.get(scene.ref(use.kind, subject.ref.namespace, use.name))) is not None
        and (write := meta.last_write(live)) is not None
        and write.at <= alerted_at(scene)
    }
    own = meta.name(obj)
    if own in written and written[own] == max(written.values()):
        return Mention("", f"misses {missing[0]}, which nothing gives (any more)", 0.9)
    return None


def _given(scene: Scene, subject: Subject) -> set[str]:
    """Names of all variables that the template gives."""
    names: set[str] = set()
    spec = template_spec(subject)
    for container in pods.containers(spec):
        names |= {text(entry, "name") for entry in objects(container, "env")}
    for use in config_uses(spec):
        live = scene.get(scene.ref(use.kind, subject.ref.namespace, use.name)) or {}
        if not use.key and not use.path:
            names |= set(live.get("data") or {})
    return names


def _evidence(
    book: EvidenceBook,
    ref: ResourceRef,
    obj: JSON,
    write: meta.Write | None,
    complaint: Complaint | None,
    cases: list[Trouble],
) -> list[str]:
    evidence = []
    key = complaint.key if complaint else ""
    value = texts(obj, "data").get(key, "")
    shown = f"{key}: {value[:300]}" if key and ref.kind == "ConfigMap" and not secret_name(key) else ""
    if write is not None:
        what = f"key {key} of {ref}" if key else str(ref)
        evidence.append(cite_write(book, ref, f"{what} was changed", write, excerpt=shown))
    elif shown:
        evidence.append(
            book.cite(
                EvidenceKind.CONFIG,
                ref,
                f"{ref} sets {key}",
                excerpt=shown,
                command=commands.show(ref),
            )
        )
    if complaint is not None:
        evidence.append(
            cite_log(
                book, complaint.pod, complaint.container, complaint.previous, complaint.lines, complaint.how
            )
        )
    for case in cases[:2]:
        end = case.state.final
        if end is not None:
            evidence.append(cite_end(book, case, end))
    return evidence


def _summary(
    ref: ResourceRef,
    subject: Subject,
    complaint: Complaint | None,
    changed: datetime | None,
    manager: str,
    cases: list[Trouble],
    *,
    held: bool,
) -> str:
    what = f"key {complaint.key} of {ref}" if complaint and complaint.key else str(ref)
    by = f" by {manager}" if manager else ""
    when = f" was changed at {changed:%Y-%m-%d %H:%M:%S} UTC{by}" if changed else " holds a bad value"
    who = f"container {cases[0].state.name} of {subject.ref}" if cases else str(subject.ref)
    does = "fails since it started with it" if cases else "fails since"
    does = "is refused with what it holds" if held else does if changed else "fails on it"
    said = f": “{last_words.quoted(complaint.lines[-1])}”" if complaint else ""
    return f"{what}{when}; {who} {does}{said}"
