// Copy buttons, menus that close, the local clock in the zone list, facets folded on small screens.
import { all, find, make } from "./dom.js";

export function startSmall() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) {
      navigator.clipboard?.writeText(button.dataset.raw ?? find(button.dataset.copy, button.parentElement).textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    }
    for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  const zone = find("#zone");
  const local = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && local && !all("option", zone).some((o) => o.value === local)) zone.prepend(make("option", {}, local));
  const fold = find(".facets .fold");
  if (fold && matchMedia("(max-width: 760px)").matches) fold.open = false;
}
