/* Form controls: radio buttons, lists, fields and check boxes. */
import { h, newId } from "./dom.js";
import { days } from "./format.js";

/* A choice between a few `options`, which are [value, label] pairs. */
export function choice(legend, options, value, chosen) {
  const name = newId("choice");
  const pick = (each) => h("input", { type: "radio", name, value: each, checked: each === value, onchange: () => chosen(each) });
  return h(
    "fieldset", { class: "picker" }, h("legend", {}, legend),
    h("div", {}, options.map(([each, label]) => h("label", {}, pick(each), h("span", {}, label)))));
}

export const HORIZONS = ["1d", "5d", "10d", "30d"];
export const horizonOf = (text) => (HORIZONS.includes(text) ? text : "1d");
/* A choice between horizons. */
export const horizons = (value, chosen, among = HORIZONS) =>
  choice("Trading days ahead", among.map((each) => [each, days(each)]), value, chosen);

/* A choice from a list. */
export function list(label, options, value, chosen) {
  const id = newId("list");
  const select = h("select", { id, onchange: () => chosen(select.value) },
    options.map(([each, text]) => h("option", { value: each, selected: each === value }, text)));
  return h("div", { class: "field" }, h("label", { for: id }, label), select);
}

export function field(label, placeholder, value, typed) {
  const id = newId("field");
  const input = h("input", { id, type: "search", placeholder, value, autocomplete: "off", oninput: () => typed(input.value) });
  return h("div", { class: "field" }, h("label", { for: id }, label), input);
}

export function tick(label, value, chosen) {
  const input = h("input", { type: "checkbox", checked: value, onchange: () => chosen(input.checked) });
  return h("label", { class: "tick" }, input, label);
}

/* Update the address without leaving the view. */
export const remember = (...parts) => history.replaceState(null, "", `#${parts.map(encodeURIComponent).join("/")}`);
