"""The whole incident page in a real browser: at 360 px, in the dark, by keyboard, without a complaint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cortexops.domain.audit import AuditType
from cortexops.domain.ledger import LedgerState
from tests.console.support import World
from tests.console.test_browser import complaints, pictures, served, sign_in
from tests.console.test_model_words import worded
from tests.support.browser import CHROMIUM, Page, browser
from tests.support.case import TARGET, a_ledger_row, entry, open_case

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH"),
]

_OVERLAPS = """
(() => {
  const boxes = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const owner = node.parentElement;
    if (!node.textContent.trim() || owner.closest('.hidden, .skip, script, style, option, select')) continue;
    if (!owner.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.width > 1 && box.height > 1) boxes.push([box, node.textContent.trim().slice(0, 40), owner]);
    }
  }
  const bad = [];
  for (let a = 0; a < boxes.length; a++) {
    const [one, text, owner] = boxes[a];
    const scrolls = owner.closest('pre, .scroll');
    if (!scrolls && (one.left < -1 || one.right > innerWidth + 1)) bad.push(`outside: ${text}`);
    for (let b = a + 1; b < boxes.length; b++) {
      const [two, other, theirs] = boxes[b];
      if (scrolls || theirs.closest('pre, .scroll')) continue;
      const wide = Math.min(one.right, two.right) - Math.max(one.left, two.left);
      const high = Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top);
      // line boxes of one paragraph touch; half a line on top of another is text on text
      if (wide > 2 && high > 0.5 * Math.min(one.height, two.height)) bad.push(`${text} / ${other}`);
    }
  }
  return bad.slice(0, 10);
})()
"""
_CONTRAST = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const numbers = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = numbers(getComputedStyle(at).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255, 255];
  };
  const bad = new Set();
  for (const element of document.querySelectorAll('main *')) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || element.closest('.hidden, :disabled, option') || !element.checkVisibility()) continue;
    const [one, two] = [light(numbers(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) bad.add(`${ratio.toFixed(2)} ${element.tagName}.${element.className}`);
  }
  return [...bad].slice(0, 10);
})()
"""


async def everything(world: World) -> str:
    """An incident with all that a page can hold; where it is."""
    incident = await open_case(world.store, diagnosis=worded())
    chain = incident.id
    reasons = ["production changes need a person", "blast radius has 2 dependents"]
    await world.store.append(
        [
            entry(
                chain, AuditType.POLICY_DECIDED, 14,
                f"require_approval: adjust_resources {TARGET}: {', '.join(reasons)}",
                data={
                    "effect": "require_approval", "reasons": reasons, "rule": "quorum_production",
                    "quorum": 2, "input": {"blast_radius": {"replicas": 3}},
                },
            )
        ]
    )  # fmt: skip
    row = a_ledger_row(chain)
    await world.store.intend(row, entry(chain, AuditType.INTENT, 96, "about to patch"))
    done = entry(chain, AuditType.ACTION_EXECUTED, 97, "limits.memory 512Mi → 1Gi")
    await world.store.settle(row.operation_id, LedgerState.APPLIED, "applied " + "x" * 300, done)
    return f"/incidents/{chain}"


async def press(page: Page, key: str) -> None:
    code = {"Tab": 9, "Enter": 13}[key]
    text: dict[str, Any] = {"text": "\r"} if key == "Enter" else {}
    for kind in ("keyDown", "keyUp"):
        await page.call(
            "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
            **(text if kind == "keyDown" else {}),
        )  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_overlaps_nothing_is_cut_and_all_can_be_read(
    world: World, tmp_path: Path, scheme: str
) -> None:
    where = await everything(world)
    async with served(world) as base, browser(tmp_path) as page:
        await page.look(width=1280, height=900, scheme=scheme)
        await sign_in(page, base, where)
        shown = await page.evaluate("document.body.innerText")
        for text in (
            "In a model's words",
            "Symptoms that this explains",
            "Plan and policy",
            "Audit chain whole",
        ):
            assert text in shown, text
        for width in (360, 768, 1280):
            await page.look(width=width, height=800, scheme=scheme)
            for opened in (False, True):
                await page.evaluate(
                    f"document.querySelectorAll('details').forEach((d) => {{ d.open = {str(opened).lower()}; }})"
                )
                assert await page.evaluate("document.documentElement.scrollWidth") <= width
                assert await page.evaluate(_OVERLAPS) == [], (width, opened)
            await page.screenshot(pictures(tmp_path) / f"whole-{width}-{scheme}.png")
        assert await page.evaluate(_CONTRAST) == []
        assert complaints(page) == []
        await page.evaluate("document.querySelector('#live-cause .cause').style.marginTop = '-2.2rem'")
        assert await page.evaluate(_OVERLAPS) != []  # the look itself sees what it looks for


async def test_the_keyboard_reaches_everything_and_shows_where_it_is(world: World, tmp_path: Path) -> None:
    where = await everything(world)
    async with served(world) as base, browser(tmp_path) as page:
        await page.look(width=360, height=800)
        await sign_in(page, base, where)
        wanted = await page.evaluate(
            "[...document.querySelectorAll('main a[href], main button:not(:disabled), main textarea, main summary, "
            "main pre[tabindex]')].filter((e) => e.checkVisibility()).map((e, i) => { e.dataset.stop = i; return i; })"
        )
        assert len(wanted) > 15
        reached, unseen = set(), []
        for _ in range(len(wanted) + 40):
            await press(page, "Tab")
            stop, outline = await page.evaluate(
                "(e => [e.dataset.stop ?? null, parseFloat(getComputedStyle(e).outlineWidth)])"
                "(document.activeElement)"
            )
            if stop is not None:
                reached.add(int(stop))
                if not outline:
                    unseen.append(stop)
            if reached == set(wanted):
                break
        assert reached == set(wanted)
        assert unseen == []
        await page.evaluate("document.querySelector('button.deny').focus()")
        await press(page, "Enter")
        await page.until("document.querySelector('#reason-problem')")
        await page.until("document.activeElement.id === 'reason'")
        assert "must say why" in await page.evaluate("document.querySelector('#reason-problem').textContent")
        assert await page.evaluate(_OVERLAPS) == []
        await page.screenshot(pictures(tmp_path) / "reason-missing-360.png")
        refused = [text for text in complaints(page) if "422" not in text]
        assert refused == []
    assert world.votes.counted == []
