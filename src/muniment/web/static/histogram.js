// Drag over the bars to zoom; arrows move between bars. Back restores, because a zoom is an address.
import { all, find } from "./dom.js";

export function startHistogram() {
  const svg = find("#histogram");
  if (!svg) return;
  const brush = find(".brush", svg);
  const start = BigInt(svg.dataset.start), end = BigInt(svg.dataset.end);
  let from = null, moved = false;
  const share = (event) => { const box = svg.getBoundingClientRect(); return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)); };

  svg.addEventListener("pointerdown", (event) => { if (event.button === 0 && event.pointerType !== "touch") { from = share(event); moved = false; } });
  window.addEventListener("pointermove", (event) => {
    if (from === null) return;
    const to = share(event);
    moved ||= Math.abs(to - from) > 0.006;
    if (moved) { brush.setAttribute("x", `${100 * Math.min(from, to)}%`); brush.setAttribute("width", `${100 * Math.abs(to - from)}%`); }
  });
  window.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const to = share(event), [a, b] = [Math.min(from, to), Math.max(from, to)];
    from = null;
    if (moved) go(a, b);
  });
  svg.addEventListener("dragstart", (event) => event.preventDefault());
  svg.addEventListener("click", (event) => { if (moved) event.preventDefault(); }, true);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") { from = null; brush.setAttribute("width", "0"); } });

  function go(a, b) {
    const at = (x) => { const ms = Number((start + ((end - start) * BigInt(Math.round(x * 1e6))) / 1000000n) / 1000000n); return new Date(ms).toISOString(); };
    const url = new URL(location.href);
    for (const name of ["cursor", "live", "open", "by"]) url.searchParams.delete(name);
    url.searchParams.set("when", `${at(a)}/${at(b)}`);
    location.href = url;
  }
  const bars = all("a.bar", svg);
  bars.forEach((bar, k) => {
    bar.setAttribute("tabindex", k ? "-1" : "0");
    bar.addEventListener("keydown", (event) => {
      const next = { ArrowRight: bars[k + 1], ArrowLeft: bars[k - 1], Home: bars[0], End: bars.at(-1) }[event.key];
      if (next) { event.preventDefault(); next.focus(); }
    });
  });
}
