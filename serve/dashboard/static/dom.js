/* Elements without a framework: h("p", { class: "note" }, "text", child). */
const BUILT = "http://www.w3.org/2000/svg";

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const h = (tag, attributes = {}, ...children) => made(document.createElement(tag), attributes, children);
export const s = (tag, attributes = {}, ...children) => made(document.createElementNS(BUILT, tag), attributes, children);
export const every = (selector, root = document) => [...root.querySelectorAll(selector)];

let count = 0;
/* An id that no other element has. */
export const newId = (stem) => `${stem}-${(count += 1)}`;

/* Text in which `code` stands between backticks, as the server writes it. */
export const prose = (text) => text.replaceAll(" %", "\u00a0%").split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part));

/* Say something to whoever listens instead of looking. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/* A list of terms: [["Model", "its own"], ...]; empty facts are left out. */
export function facts(pairs, kind = "facts") {
  const known = pairs.filter(([, fact]) => fact !== null && fact !== undefined && fact !== "");
  return h("dl", { class: kind }, known.map(([term, fact]) => h("div", {}, h("dt", {}, term), h("dd", {}, fact))));
}

export const button = (text, onclick, attributes = {}) => h("button", { type: "button", onclick, ...attributes }, text);
