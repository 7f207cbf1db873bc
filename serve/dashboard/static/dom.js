/* Create elements without a framework: h("p", { class: "note" }, "text", child). */
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const every = (selector, root = document) => [...root.querySelectorAll(selector)];

let count = 0;
/* Return a unique id. */
export const newId = (stem) => `${stem}-${(count += 1)}`;

/* Convert `code` between backticks, as in texts of the server. */
export const prose = (text) => text.replaceAll(" %", "\u00a0%").split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part));

/* Announce a text to screen readers. */
export function say(text) {
  document.getElementById("announcement").textContent = text;
}

/* A description list of [term, fact] pairs; empty facts are left out. */
export function facts(pairs, kind = "facts") {
  const present = pairs.filter(([, fact]) => fact !== null && fact !== undefined && fact !== "");
  return h("dl", { class: kind }, present.map(([term, fact]) => h("div", {}, h("dt", {}, term), h("dd", {}, fact))));
}

export const button = (text, onclick, attributes = {}) => h("button", { type: "button", onclick, ...attributes }, text);
