// Copy buttons: the code beside the button goes to the clipboard, and the button says so.
import { announce } from "./words.js";

const SHOWN = 1600;

/** Every copy button under `root`, also those that come later. */
export function copyOn(root) {
  root.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const code = button.parentElement.querySelector("code");
    const done = await copy(code);
    feedback(button, done ? button.dataset.done : button.dataset.failed, done);
  });
}

async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    // No clipboard beyond loopback without TLS: leave the text selected, one key away from copied.
    getSelection().selectAllChildren(code);
    return false;
  }
}

function feedback(button, text, done) {
  button.dataset.label ??= button.textContent;
  button.textContent = text;
  button.classList.toggle("done", done);
  announce(text);
  clearTimeout(button.timer);
  button.timer = setTimeout(() => {
    button.textContent = button.dataset.label;
    button.classList.remove("done");
  }, SHOWN);
}
