// The question box and the keyboard: Enter sends, Shift+Enter breaks the line, / comes here, Esc stops, Up recalls.

/** Wires `form` to the conversation `talk`; gives back what others need from it. */
export function composer(form, talk) {
  const box = form.elements.question;
  const asked = [];
  let at = 0;

  function submit(question, profile) {
    if (!question.trim()) return;
    asked.push(question);
    at = asked.length;
    talk.ask(question, profile);
  }

  function recall(step) {
    if (box.value && box.value !== asked[at]) return false;
    const next = Math.min(Math.max(at + step, 0), asked.length);
    if (next === at) return false;
    at = next;
    box.value = asked[at] ?? "";
    return true;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (form.classList.contains("busy")) return talk.stop();
    const question = box.value;
    box.value = "";
    fit(box);
    submit(question);
    rest();
  });

  box.addEventListener("input", () => fit(box));
  box.addEventListener("keydown", (event) => {
    // While an input method composes (Chinese), Enter and the arrows are its own.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      if (!form.classList.contains("busy")) form.requestSubmit();
    }
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step && recall(step)) {
      event.preventDefault();
      fit(box);
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") talk.stop();
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    // Already here and nothing written: the slash meant "come here", no question starts with it.
    const here = event.target === box && !box.value;
    if (here || !event.target.matches("input, textarea, select, [contenteditable]")) {
      event.preventDefault();
      box.focus();
    }
  });

  document.addEventListener("click", (event) => {
    const chip = event.target.closest("a[data-ask]");
    if (!chip || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    // What follows an answer stays about the run of that answer, also when a newer one has come since.
    const profile = chip.closest(".reply") && new URL(chip.href).searchParams.get("profile");
    submit(chip.textContent, profile || undefined);
    rest();
  });

  /** Ready to type, but not where that would raise the keyboard of a phone over the answer. */
  function rest() {
    if (matchMedia("(hover: hover)").matches) box.focus({ preventScroll: true });
  }

  box.required = false; // an empty Enter is ignored here, without the browser's bubble
  rest();
  return box;
}

function fit(box) {
  if (CSS.supports("field-sizing", "content")) return;
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}
