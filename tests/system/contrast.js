// What of the page has less contrast than WCAG 2.2 AA asks for, from computed styles alone: texts (1.4.3: 4.5, large ones 3), and
// the edges of controls and the outlines of what has the focus (1.4.11: 3). Outlines are seen when a key was pressed last.
() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const known = new Map();
  // Any CSS colour as sRGB, 0 to 255, and alpha, 0 to 1; the browser itself converts it.
  const rgba = (color) => {
    if (!known.has(color)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = color;
      context.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
      known.set(color, [r, g, b, a / 255]);
    }
    return known.get(color);
  };
  // One colour with alpha over another.
  const over = (top, below) => {
    const alpha = top[3] + below[3] * (1 - top[3]);
    return alpha ? [0, 1, 2].map((i) => (top[i] * top[3] + below[i] * below[3] * (1 - top[3])) / alpha).concat(alpha) : [0, 0, 0, 0];
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ratio = (a, b) => {
    const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (light + 0.05) / (dark + 0.05);
  };
  const isDark = () => getComputedStyle(document.documentElement).colorScheme.includes("dark") && matchMedia("(prefers-color-scheme: dark)").matches;
  // A text as it is painted, and what is behind it: backgrounds and opacities from the element up to the canvas.
  const painted = (element, text) => {
    let ground = [0, 0, 0, 0];
    let left = text[3];
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      const below = rgba(style.backgroundColor);
      [text, ground] = [over(text, below), over(ground, below)].map(([r, g, b, a]) => [r, g, b, a * Number(style.opacity)]);
      left *= Number(style.opacity);
    }
    const canvas = isDark() ? [18, 18, 18, 1] : [255, 255, 255, 1];
    return [over(text, canvas), over(ground, canvas), left > 0];
  };
  const failures = [];
  let n = 0;
  const check = (element, text, style, more = 1) => {
    const [r, g, b, a] = rgba(element instanceof SVGElement && style.fill !== "none" ? style.fill : style.color);
    const [front, ground, isPainted] = painted(element, [r, g, b, a * more]);
    if (!isPainted) return; // not shown until somebody comes near it
    const found = ratio(front, ground);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    n += 1;
    if (found < needed) {
      const place = [element.parentElement, element].filter(Boolean).map((each) => each.localName + (each.getAttribute("class") ? "." + each.getAttribute("class") : "")).join(" > ");
      failures.push(`${found.toFixed(2)} < ${needed}: ${place}: ${JSON.stringify(text.trim().slice(0, 60))} ${style.color} on ${ground.map(Math.round).slice(0, 3)}`);
    }
  };
  const isShown = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest(":disabled, [aria-disabled=true]") && !isForReaders(element);
  // Words that only screen readers get.
  const isForReaders = (element) => { for (let at = element; at; at = at.parentElement) if (getComputedStyle(at).clipPath === "inset(50%)") return true; };
  for (const each of document.querySelectorAll("details")) each.open = true;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || ["SCRIPT", "STYLE", "NOSCRIPT", "OPTION"].includes(element.tagName) || !isShown(element)) continue;
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (box.width < 2 || box.height < 2) continue;
    check(element, node.data, getComputedStyle(element));
  }
  for (const element of document.querySelectorAll("input, textarea, select")) {
    if (!isShown(element) || ["hidden", "checkbox", "radio"].includes(element.type)) continue;
    if (element.value) check(element, element.value, getComputedStyle(element));
    if (element.placeholder) {
      const style = getComputedStyle(element, "::placeholder");
      check(element, element.placeholder, style, Number(style.opacity));
    }
  }
  for (const element of document.querySelectorAll("body *")) {
    for (const part of ["::before", "::after"]) {
      const style = getComputedStyle(element, part);
      if (/[\p{L}\p{N}]/u.test(style.content.replace(/^(none|normal)$/, "")) && style.display !== "none" && isShown(element)) check(element, style.content, style, Number(style.opacity));
    }
  }
  const placeOf = (element) => [element.parentElement, element].filter(Boolean).map((each) => each.localName + (each.getAttribute("class") ? "." + each.getAttribute("class") : "")).join(" > ");
  const low = (what, element, found, front, ground) => failures.push(`${found.toFixed(2)} < 3: ${what} of ${placeOf(element)}: ${JSON.stringify((element.name || element.textContent || "").trim().slice(0, 40))} ${front.map(Math.round).slice(0, 3)} on ${ground.map(Math.round).slice(0, 3)}`);
  const isBig = (element) => { const box = element.getBoundingClientRect(); return box.width > 1 && box.height > 1; };
  // A control is seen by its border or by its own ground, against what is around it. One that is a text alone is measured as text.
  let controls = 0;
  for (const element of document.querySelectorAll("input:not([type=hidden]), textarea, select, button, .button, .menu > summary")) {
    if (!isShown(element) || !isBig(element)) continue;
    const style = getComputedStyle(element);
    const around = element.parentElement;
    const seen = [];
    const faded = (color) => { const [r, g, b, a] = rgba(color); return [r, g, b, a * Number(style.opacity)]; };
    for (const side of ["Top", "Right", "Bottom", "Left"]) {
      if (parseFloat(style[`border${side}Width`]) > 0 && style[`border${side}Style`] !== "none") seen.push(painted(around, faded(style[`border${side}Color`])));
    }
    seen.push(painted(around, faded(style.backgroundColor)));
    const visible = seen.map(([front, ground, isPainted]) => ({ front, ground, found: isPainted ? ratio(front, ground) : 1 }));
    const best = visible.reduce((a, b) => (b.found > a.found ? b : a));
    // Without a border, a faint ground under words is decoration: the words say that it is there, and they were measured.
    const hasBorder = seen.length > 1 && visible.slice(0, -1).some(({ found }) => found >= 1.02);
    const isField = ["input", "textarea", "select"].includes(element.localName);
    if (!hasBorder && best.found < 1.5 && !isField) continue;
    controls += 1;
    if (best.found < 3) low("the edge", element, best.found, best.front, best.ground);
  }
  let outlines = 0;
  const before = document.activeElement;
  for (const element of document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")) {
    if (!isShown(element) || !isBig(element)) continue;
    element.focus({ preventScroll: true });
    if (document.activeElement !== element || !element.matches(":focus-visible")) continue;
    const style = getComputedStyle(element);
    const isInside = parseFloat(style.outlineOffset) < 0;
    const color = style.outlineColor === "auto" || style.outlineStyle === "auto" ? "#000" : style.outlineColor;
    const [front, ground] = painted(isInside ? element : element.parentElement, rgba(color));
    outlines += 1;
    if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) low("no outline", element, 1, front, ground);
    else if (ratio(front, ground) < 3) low("the outline", element, ratio(front, ground), front, ground);
  }
  before?.focus?.({ preventScroll: true });
  return { n, controls, outlines, failures: [...new Set(failures)] };
}
