// Language, appearance, and the panel that holds them on a phone.
import { speak } from "./words.js";

const YEAR = 365 * 24 * 3600;

/** Wires the switches; each works on every page that has them. */
export function settings() {
  language();
  theme();
  panel();
}

function language() {
  const form = document.getElementById("ask");
  if (!form) return; // a page without a conversation has nothing to lose: its links load it anew
  const links = [...document.querySelectorAll("[data-lang]")];
  for (const link of links) {
    link.addEventListener("click", async (event) => {
      event.preventDefault();
      const lang = link.dataset.lang;
      try {
        await speak(lang);
      } catch {
        location.href = link.href;
        return;
      }
      document.cookie = `advisor-lang=${lang}; path=/; max-age=${YEAR}; samesite=lax`;
      form.elements.lang.value = lang;
      for (const other of links) {
        if (other === link) other.setAttribute("aria-current", "true");
        else other.removeAttribute("aria-current");
      }
      document.dispatchEvent(new Event("advisor:lang"));
    });
  }
}

function theme() {
  const root = document.documentElement;
  const buttons = [...document.querySelectorAll("[data-theme-choice]")];
  const mark = () => {
    const now = root.dataset.theme ?? "auto";
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.themeChoice === now));
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const choice = button.dataset.themeChoice;
      if (choice === "auto") delete root.dataset.theme;
      else root.dataset.theme = choice;
      try {
        localStorage.setItem("advisor-theme", choice);
      } catch {
        // Not remembered where storage is forbidden.
      }
      mark();
    });
  }
  mark();
}

function panel() {
  const menu = document.getElementById("menu");
  const root = document.documentElement;
  const open = (state) => {
    root.classList.toggle("side-open", state);
    menu.setAttribute("aria-expanded", String(state));
  };
  menu.addEventListener("click", () => open(!root.classList.contains("side-open")));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !root.classList.contains("side-open")) return;
    open(false);
    menu.focus();
  });
}
