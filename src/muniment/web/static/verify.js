// The proof checked in this browser: fetched as data, every hash computed here, nothing believed from the server's verdict.
import { find, make, say } from "./dom.js";

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const join = (...parts) => { const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0)); let at = 0; for (const p of parts) { all.set(p, at); at += p.length; } return all; };
const sha = async (...parts) => new Uint8Array(await crypto.subtle.digest("SHA-256", join(...parts)));
const hex = (data) => [...data].map((b) => b.toString(16).padStart(2, "0")).join("");
const same = (a, b) => hex(a) === hex(b);
const ZERO = Uint8Array.of(0), ONE = Uint8Array.of(1);

export function startVerify() {
  armVerify(document);
  find("#rows")?.addEventListener("click", (event) => {
    const lock = event.target.closest("a.lock");
    if (!lock || event.ctrlKey || event.metaKey || event.shiftKey || !globalThis.crypto?.subtle) return;
    event.preventDefault();
    proveRow(lock.closest("tr"));
  });
}

// The lock of a row: fetched, computed, and told by shape and words. True, false, or null when it could not be told.
export async function proveRow(row) {
  const lock = find("a.lock", row), index = row.dataset.index;
  if (!lock || !globalThis.crypto?.subtle) { if (lock) location.href = lock.href; return null; }
  lock.setAttribute("aria-busy", "true");
  let verdict = null;
  try {
    const answer = await fetch(lock.dataset.proof);
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const { steps } = await check(await answer.json(), Number(index));
    verdict = steps.some(([, ok]) => ok === false) ? false : steps.every(([, ok]) => ok === true) ? true : null;
    say(verdict ? `Record ${index}: the proof holds, computed in this browser` : verdict === false ? `Record ${index}: the proof does NOT hold` : `Record ${index}: the hashes hold; the signature could not be checked here`);
  } catch (error) { say(`Record ${index} could not be verified: ${error.message}`); }
  lock.removeAttribute("aria-busy");
  lock.classList.add(verdict ? "is-proved" : verdict === false ? "is-broken" : "is-unsure");
  lock.title = verdict ? "The proof holds, computed in this browser" : verdict === false ? "The proof does not hold" : "Not fully checked; press to try again";
  find(".sr", lock).textContent = `${lock.title}: record ${index}`;
  find("path", lock)?.setAttribute("d", verdict ? "M5.4 10l1.9 1.9 3.4-3.6M5.4 7V5.2a2.6 2.6 0 0 1 5.2 0V7" : verdict === false ? "M6 8.6l4 3.4M10 8.6l-4 3.4M5.4 7V5.2a2.6 2.6 0 0 1 5.2 0" : "M5.4 7V5.2a2.6 2.6 0 0 1 5.2 0V7");
  return verdict;
}

export function armVerify(from) {
  const link = find("[data-verify]", from);
  if (!link || !globalThis.crypto?.subtle) return;
  link.textContent = "Verify in this browser";
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    const place = find("#verify", link.closest(".proof"));
    place.replaceChildren(make("p", { class: "muted" }, "Computing…"));
    try {
      const answer = await fetch(link.dataset.verify);
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      place.replaceChildren(...report(await check(await answer.json()), link.href));
    } catch (error) { place.replaceChildren(make("p", { class: "alert" }, `Could not verify: ${error.message}`)); }
  });
}

// RFC 9162, section 2.1.3.2.
async function rootOf(index, size, leafHash, path) {
  let node = leafHash, fn = BigInt(index), sn = BigInt(size) - 1n;
  if (fn > sn) throw new Error("the index lies outside the tree");
  for (const sibling of path) {
    if (sn === 0n) throw new Error("the path is too long");
    if (fn & 1n || fn === sn) {
      node = await sha(ONE, sibling, node);
      while (!(fn & 1n) && fn) { fn >>= 1n; sn >>= 1n; }
    } else node = await sha(ONE, node, sibling);
    fn >>= 1n; sn >>= 1n;
  }
  if (sn !== 0n) throw new Error("the path is too short");
  return node;
}

async function check(proof, asked = proof.index) {
  const leaf = bytes(proof.leaf), head = JSON.parse(new TextDecoder().decode(leaf));
  const commitment = await sha(bytes(proof.record_salt), bytes(proof.record));
  const leafHash = await sha(ZERO, leaf);
  const root = await rootOf(proof.leaf_index, proof.size, leafHash, proof.inclusion_proof.map(bytes));
  const lines = proof.checkpoint.split("\n");
  const steps = [
    ["The record hashes to the leaf's commitment", same(commitment, bytes(head.c[0]))],
    ["The leaf names this index", head.i === proof.leaf_index && proof.index === asked],
    [`${proof.inclusion_proof.length} hashes lead to the checkpoint's root`, same(root, bytes(lines[2]))],
    ["The checkpoint covers this tree", lines[1] === String(proof.size) && lines[0] === proof.origin],
  ];
  steps.push(["The checkpoint's Ed25519 signature", await signed(proof)]);
  return { steps, root: hex(root) };
}

// C2SP signed-note: "— name base64(4-byte key id || signature)"; vkey "name+hash+base64(0x01 || key)".
async function signed(proof) {
  const end = proof.checkpoint.indexOf("\n\n");
  const text = new TextEncoder().encode(proof.checkpoint.slice(0, end + 1));
  let verdict = null;
  for (const vkey of proof.vkeys) {
    const name = vkey.split("+")[0], hash = vkey.split("+")[1], data = bytes(vkey.slice(name.length + hash.length + 2));
    if (data[0] !== 1 || data.length !== 33) continue;
    for (const line of proof.checkpoint.slice(end + 2).split("\n")) {
      if (!line.startsWith(`— ${name} `)) continue;
      const signature = bytes(line.slice(name.length + 3));
      if (hex(signature.slice(0, 4)) !== hash) continue;
      try {
        const key = await crypto.subtle.importKey("raw", data.slice(1), "Ed25519", false, ["verify"]);
        if (!(await crypto.subtle.verify("Ed25519", key, signature.slice(4), text))) return false;
        verdict = true;
      } catch { verdict = null; }
    }
  }
  return verdict;
}

function report({ steps, root }, url) {
  const isValid = steps.every(([, ok]) => ok === true), isBroken = steps.some(([, ok]) => ok === false);
  const words = (ok) => (ok === true ? "holds" : ok === false ? "does not hold" : "not checked here");
  return [
    make("p", { class: isBroken ? "alert" : isValid ? "good" : "" }, isBroken ? "The proof does not hold." : isValid ? "Computed in this browser: the proof holds." : "The hashes hold; a signature could not be checked here."),
    make("ol", { class: "steps" }, ...steps.map(([text, ok]) => make("li", { class: ok === true ? "is-right" : ok === false ? "is-wrong" : "is-open" },
      make("span", { class: "mark", "aria-hidden": "true" }, ok === true ? "✓" : ok === false ? "✗" : "?"), make("div", {}, text, make("span", { class: "state" }, ` ${words(ok)}`))))),
    make("p", { class: "muted" }, "Root ", make("span", { class: "hash" }, root)),
    make("p", {}, make("a", { href: url }, "The server's own check, step by step")),
  ];
}
