/* The API key, if the server requires one: stored for this tab, until it is closed. */
import { h } from "./dom.js";

const NAME = "nsecast-key";
let asking = null;

export const keyNow = () => sessionStorage.getItem(NAME);
export const forgetKey = () => sessionStorage.removeItem(NAME);

/* Resolve once a key is entered; concurrent calls share the dialog. */
export function askForKey(reason) {
  asking ??= new Promise((done) => {
    const dialog = document.getElementById("key");
    const field = h("input", {
      id: "key-field", type: "password", required: true, autocomplete: "off", spellcheck: "false",
      "aria-describedby": "key-help",
    });
    const form = h(
      "form", { method: "dialog" },
      h("h2", { id: "key-title" }, "This server requires an API key"),
      reason ? h("p", { class: "wrong", role: "alert" }, reason) : null,
      h("div", { class: "field" }, h("label", { for: "key-field" }, "API key"), field),
      h("p", { id: "key-help", class: "note" },
        "It is stored in this tab until the tab is closed. The operator of the server creates keys with ",
        h("code", {}, "nsecast serve keys --add NAME"), "."),
      h("button", { type: "submit", class: "main" }, "Use this key"),
    );
    form.addEventListener("submit", () => {
      sessionStorage.setItem(NAME, field.value.trim());
      asking = null;
      done();
    });
    dialog.replaceChildren(form);
    dialog.onclose = () => asking && dialog.showModal(); // the page needs a key
    if (!dialog.open) dialog.showModal();
    field.focus();
  });
  return asking;
}
