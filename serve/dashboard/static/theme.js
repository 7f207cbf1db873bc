/* Light or dark: as the system, or as chosen here. */
const NAME = "nsecast-appearance";
const dark = matchMedia("(prefers-color-scheme: dark)");
export const appearance = new EventTarget();

export function follow(select) {
  const apply = () => {
    document.documentElement.dataset.theme = select.value;
    appearance.dispatchEvent(new Event("change"));
  };
  select.value = localStorage.getItem(NAME) || "";
  select.addEventListener("change", () => {
    localStorage.setItem(NAME, select.value);
    apply();
  });
  dark.addEventListener("change", apply);
  apply();
}

/* What a CSS colour variable is now, as plotly can read it. */
export function colour(name) {
  const probe = document.getElementById("said");
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.style.color = "";
  return found;
}
