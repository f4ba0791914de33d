// The page's words in its current language, and the one place that speaks to screen readers.
const block = document.getElementById("strings");
let words = block ? JSON.parse(block.textContent) : {};

/** The word for `key` in the page's language. */
export const word = (key) => words[key] ?? "";

/** Puts the page's own words into another language; answers keep theirs. */
export async function speak(lang) {
  const response = await fetch(`/strings/${lang}.json`);
  if (!response.ok) throw new Error(`no words for ${lang}`);
  words = await response.json();
  document.documentElement.lang = lang;
  translate(document);
  for (const template of document.querySelectorAll("template")) translate(template.content);
}

function translate(root) {
  for (const node of root.querySelectorAll("[data-t]")) {
    node.textContent = word(node.dataset.t);
    if (node.matches("a[data-ask]")) node.href = asking(node.href, node.textContent);
  }
  for (const node of root.querySelectorAll("[data-t-label]")) node.ariaLabel = word(node.dataset.tLabel);
  for (const node of root.querySelectorAll("[data-t-placeholder]")) node.placeholder = word(node.dataset.tPlaceholder);
}

/** `address` with another question in it. */
export function asking(address, question) {
  const url = new URL(address);
  url.searchParams.set("q", question);
  return url.href;
}

/** One polite announcement. */
export function announce(text) {
  document.getElementById("status").textContent = text;
}
