// The sidebar: stored runs, looked at again every few seconds while the page is seen; a click makes one the subject.
const EVERY = 4000;

/** Keeps the list fresh and lets a click choose what the questions of `form` are about. */
export function runs(form, box) {
  const list = document.getElementById("runs");
  const about = form.querySelector(".about");
  let last = null;

  async function look() {
    if (document.visibilityState !== "visible") return;
    const query = new URLSearchParams({ profile: form.elements.profile.value, lang: document.documentElement.lang });
    try {
      const response = await fetch(`/runs?${query}`);
      if (response.ok) show(await response.text());
    } catch {
      // The service is away; the list stays as it was, and asking will say so.
    }
  }

  function show(html) {
    if (html === last) return;
    last = html;
    const focused = list.contains(document.activeElement) ? document.activeElement.id : "";
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    list.replaceChildren(...fresh.childNodes);
    if (focused) document.getElementById(focused)?.focus();
  }

  function choose(id, subject) {
    form.elements.profile.value = id;
    about.hidden = !id;
    about.querySelector("b").textContent = subject;
    for (const link of list.querySelectorAll("[data-run]")) {
      if (link.dataset.run === id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    document.documentElement.classList.remove("side-open");
    document.getElementById("menu").setAttribute("aria-expanded", "false");
    box.focus();
  }

  list.addEventListener("click", (event) => {
    const run = event.target.closest("[data-run]");
    if (!run || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const same = form.elements.profile.value === run.dataset.run;
    choose(same ? "" : run.dataset.run, same ? "" : run.dataset.subject);
  });
  about.querySelector(".clear").addEventListener("click", (event) => {
    event.preventDefault();
    choose("", "");
  });

  document.addEventListener("visibilitychange", look);
  document.addEventListener("advisor:lang", look);
  setInterval(look, EVERY);
}
