// Every visible text of the page whose contrast is below WCAG 2.2 AA (1.4.3): 4.5, large text 3. From computed styles alone.
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
  return { n, failures: [...new Set(failures)] };
}
