// Keeps the parts of a page that carry data-live fresh, and counts down. Every page works without it.
(() => {
  "use strict";
  const EVERY = 5000;

  const words = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    const minutes = Math.floor(whole / 60);
    const hours = Math.floor(minutes / 60);
    const two = (n) => String(n).padStart(2, "0");
    if (hours) return `${hours}h ${two(minutes % 60)}m`;
    return minutes ? `${minutes}m ${two(whole % 60)}s` : `${whole}s`;
  };

  // Seconds left are the server's; only their passing is measured here, so a wrong clock does no harm.
  const seen = new WeakMap();

  const tick = () => {
    const now = performance.now();
    for (const place of document.querySelectorAll("[data-left]")) {
      if (!seen.has(place)) seen.set(place, now);
      const left = Number(place.dataset.left) - (now - seen.get(place)) / 1000;
      place.textContent = words(left);
      const row = place.closest(".countdown");
      if (row) row.classList.toggle("soon", left < 120);
    }
  };

  const openDetails = (part) =>
    new Set([...part.querySelectorAll("details")].flatMap((d, i) => (d.open ? [i] : [])));

  const refresh = async () => {
    if (document.hidden) return;
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "error" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(old.id);
      if (!next) continue;
      const version = old.dataset.version;
      if (version !== undefined && version === next.dataset.version) continue; // somebody may be typing here
      if (version === undefined && old.contains(document.activeElement)) continue;
      const open = openDetails(old);
      old.replaceWith(document.importNode(next, true));
      document.getElementById(next.id).querySelectorAll("details").forEach((d, i) => { d.open = open.has(i); });
    }
    document.title = fresh.title;
    tick();
  };

  tick();
  setInterval(tick, 1000);
  if (document.querySelector("[data-live]")) {
    const again = () => refresh().catch(() => undefined);
    setInterval(again, EVERY);
    document.addEventListener("visibilitychange", again);
  }
})();
