// Copy buttons, menus that close, sections that open, the local clock in the zone list, leaving a value out of a search.
import { all, copy, find, make } from "./dom.js";

export function startSmall() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) {
      const { link, raw, what } = button.dataset, was = button.textContent;
      copy(link ? new URL(link, location.href).href : raw ?? find(button.dataset.copy, button.parentElement).textContent, what ?? "It is");
      if (was === "Copy") { button.textContent = "Copied"; setTimeout(() => (button.textContent = was), 1500); }
    }
    for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
    const tab = event.target.closest(".tabs a[href^='#']");
    if (tab) { // the part may be folded, and beside the rows the address belongs to the search
      const part = find(tab.getAttribute("href"), tab.closest(".event"));
      if (part?.tagName === "DETAILS") part.open = true;
      if (tab.closest("#detail")) { event.preventDefault(); part?.scrollIntoView({ block: "start" }); }
    }
  });
  const zone = find("#zone");
  const local = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && local && !all("option", zone).some((o) => o.value === local)) zone.prepend(make("option", {}, local));
  if (matchMedia("(max-width: 760px)").matches) for (const fold of all(".fold:not([data-stays])")) fold.open = false;
  leaveOut();
}

// One button that stands beside the value in a row the reader points at.
function leaveOut() {
  const rows = find("#rows");
  if (!rows) return;
  const button = make("a", { class: "not-this", href: "#", title: "Leave it out (-)" }, "−");
  for (const kind of ["pointerover", "focusin"]) rows.addEventListener(kind, (event) => {
    const cell = event.target.closest("td"), link = cell && find("a[data-exclude]", cell);
    if (!link) { if (!event.target.closest(".not-this")) button.remove(); return; }
    if (button.parentElement === cell) return;
    button.href = link.dataset.exclude;
    button.setAttribute("aria-label", `Leave out ${link.textContent}`);
    cell.append(button);
  });
}
