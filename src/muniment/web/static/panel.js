// A record beside the rows. Its page is fetched as a document (no script in it can run) and its article moved over.
// The address says which record is open, so that back, reload and a copied link work.
import { all, find, make, say } from "./dom.js";
import { armVerify } from "./verify.js";

const WIDE = matchMedia("(min-width: 1100px)");
let opened = null, asked = 0;

export const rowOf = (index) => find(`#rows tr[data-index="${index}"]`);
export const isOpen = () => opened !== null;

export function startPanel() {
  const place = find("#detail"), rows = find("#rows");
  if (!place || !rows) return;
  rows.addEventListener("click", (event) => {
    const link = event.target.closest("a.open, .c-time a");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || !WIDE.matches) return;
    event.preventDefault();
    openRow(link.closest("tr"), { focus: true });
  });
  window.addEventListener("popstate", () => {
    const index = new URL(location.href).searchParams.get("open");
    const row = index && rowOf(index);
    row ? openRow(row, { isBack: true }) : close({ isBack: true });
  });
  const first = new URL(location.href).searchParams.get("open");
  if (first && place.dataset.open) {
    if (!WIDE.matches) location.replace(place.dataset.open);
    else show(first, place.dataset.open, { isBack: true });
  }
}

export function openRow(row, how = {}) { return show(row.dataset.index, find("a.open", row).href, how); }

async function show(index, address, { focus = false, isBack = false } = {}) {
  const place = find("#detail"), mine = ++asked, wasOpen = isOpen();
  opened = index;
  for (const row of all("#rows tr.is-open")) row.classList.remove("is-open");
  rowOf(index)?.classList.add("is-open");
  find(".split").classList.add("has-detail");
  place.hidden = false;
  place.setAttribute("aria-busy", "true");
  if (!wasOpen) place.replaceChildren(make("p", { class: "muted" }, `Opening record ${index}…`));
  if (!isBack) {
    const url = new URL(location.href);
    url.searchParams.set("open", index);
    history[wasOpen ? "replaceState" : "pushState"](null, "", url);
  }
  try {
    const page = await fetchDocument(address);
    if (mine !== asked) return;
    const article = document.adoptNode(find("article.event", page));
    const title = find("h1", article);
    title.replaceWith(make("h2", { class: "title" }, ...title.childNodes));
    place.replaceChildren(head(index, address), article);
    place.scrollTop = 0;
    armVerify(place);
  } catch {
    if (mine !== asked) return;
    place.replaceChildren(head(index, address), make("p", { class: "alert" }, "This record could not be loaded. Open it as a page to see why."));
    say("The record could not be loaded");
  }
  place.removeAttribute("aria-busy");
  if (focus) place.focus({ preventScroll: true });
  rowOf(index)?.scrollIntoView({ block: "nearest" });
}

export function close({ isBack = false } = {}) {
  if (!isOpen()) return false;
  const row = rowOf(opened), place = find("#detail");
  opened = null; asked += 1;
  row?.classList.remove("is-open");
  place.hidden = true;
  place.replaceChildren();
  find(".split").classList.remove("has-detail");
  if (!isBack) {
    const url = new URL(location.href);
    url.searchParams.delete("open");
    history.pushState(null, "", url);
  }
  if (row) { find("a.open", row).focus({ preventScroll: true }); row.scrollIntoView({ block: "nearest" }); }
  return true;
}

function head(index, address) {
  const step = (by, words, sign) => {
    const row = rowOf(index), next = by > 0 ? row?.nextElementSibling : row?.previousElementSibling;
    const button = make("button", { type: "button", class: "quiet", title: words, "aria-label": words }, sign);
    button.disabled = !next;
    button.addEventListener("click", () => openRow(next));
    return button;
  };
  const shut = make("button", { type: "button", class: "quiet", "aria-label": "Close the record", title: "Close (Esc)" }, "✕");
  shut.addEventListener("click", () => close());
  return make("div", { class: "detail-head" }, make("span", { class: "muted" }, "Record "), make("b", { class: "num" }, index), make("span", { class: "spring" }),
    step(-1, "The row above (k)", "↑"), step(1, "The row below (j)", "↓"), make("a", { class: "quiet", href: address, "data-page": "", title: "Open as a page (o)" }, "As a page"), shut);
}

function fetchDocument(address) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", address);
    request.responseType = "document";
    request.onload = () => (request.status === 200 && request.response ? resolve(request.response) : reject(new Error(String(request.status))));
    request.onerror = () => reject(new Error("unreachable"));
    request.send();
  });
}
