// One way to make elements: attributes and text, never markup.
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
export const find = (selector, from = document) => from.querySelector(selector);
export const all = (selector, from = document) => [...from.querySelectorAll(selector)];

let saying = 0;
// A line for everybody, screen readers too; gone after a while.
export function say(text) {
  const place = find("#said");
  place.textContent = text;
  clearTimeout(saying);
  saying = setTimeout(() => (place.textContent = ""), 4000);
}
export function copy(text, what) {
  return (navigator.clipboard?.writeText(text) ?? Promise.reject(new Error("no clipboard"))).then(
    () => say(`${what} copied`), () => say("This browser does not let pages copy"));
}
