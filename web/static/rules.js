// The filter over the rules: hides what lacks the words, keeps them in the address (?q=), and says how many are left.
// A plain script, because a page that is opened from a disk may not load modules.
(function () {
  "use strict";
  const form = document.getElementById("filter");
  const box = form.elements.q;
  const found = document.getElementById("found");
  const nothing = document.querySelector(".nothing");
  const fold = (text) => text.normalize("NFKC").toLowerCase();
  const clean = (node) => fold(node.textContent.replace(/\s+/g, " "));

  // Everything that can be found, read once: a rule by its own text, its topic's, and the ways people say the topic.
  const topics = [...document.querySelectorAll(".topic")].map((node, place) => ({
    node,
    place,
    heard: node.querySelector(".heard"),
    count: node.querySelector(".count"),
    title: `${clean(node.querySelector("h3").firstElementChild)} ${node.id}`,
    phrases: node.dataset.said.split("\n").map((said) => ({ said, text: fold(said) })),
    rules: [...node.querySelectorAll(".rule")].map((item) => ({ item, text: `${clean(item)} ${item.dataset.area}` })),
  }));
  const questions = [...document.querySelectorAll(".question")].map((item) => ({ item, text: clean(item) }));

  /** Shows the rules of a topic that have all `words`; gives back how many, and how well the topic fits. */
  function filterTopic(topic, words) {
    const has = (text) => words.every((word) => text.includes(word));
    const named = has(topic.title);
    const phrase = named ? undefined : topic.phrases.find(({ text }) => has(`${topic.title} ${text}`));
    let shown = 0;
    let direct = 0;
    for (const { item, text } of topic.rules) {
      const own = has(`${topic.title} ${text}`);
      item.hidden = !(own || phrase);
      direct += own;
      shown += !item.hidden;
    }
    topic.node.hidden = shown === 0;
    topic.heard.hidden = !phrase;
    topic.heard.textContent = phrase ? phrase.said : "";
    topic.count.textContent = shown < topic.rules.length ? `${shown}/${topic.rules.length}` : shown;
    return { topic, shown, fit: direct / topic.rules.length + named };
  }

  /** The topics that fit best come first, and so do their groups; without words all stand where they were. */
  function sort(results, words) {
    const order = [...results].sort((a, b) => (words.length ? b.fit - a.fit : 0) || a.topic.place - b.topic.place);
    for (const { topic } of order) topic.node.parentElement.append(topic.node);
    const groups = new Set(order.map(({ topic }) => topic.node.parentElement));
    const last = document.getElementById("questions")?.parentElement ?? null;
    for (const group of groups) group.parentElement.insertBefore(group, last);
  }

  function filter() {
    const words = fold(box.value).split(/\s+/).filter(Boolean);
    const results = topics.map((topic) => filterTopic(topic, words));
    const rules = results.reduce((sum, { shown }) => sum + shown, 0);
    for (const { item, text } of questions) item.hidden = !words.every((word) => text.includes(word));
    const answered = questions.filter(({ item }) => !item.hidden).length;
    for (const group of document.querySelectorAll(".group")) {
      group.hidden = group.querySelector(".topic:not([hidden]), .question:not([hidden])") === null;
    }
    document.querySelector(".jump").hidden = words.length > 0;
    nothing.hidden = rules + answered > 0;
    const ask = nothing.querySelector("a");
    if (ask) ask.search = `?q=${encodeURIComponent(box.value.trim())}`;
    sort(results, words);
    found.textContent = words.length ? say(rules, answered) : "";
    mark(words);
  }

  function say(rules, answered) {
    const all = topics.reduce((sum, topic) => sum + topic.rules.length, 0);
    const put = (text, n, of) => text.replace("{n}", n).replace("{all}", of);
    const parts = [put(found.dataset.rules, rules, all)];
    if (found.dataset.questions) parts.push(put(found.dataset.questions, answered, questions.length));
    return parts.join(" · ");
  }

  /** Highlights the words where the browser can do so without touching the text. */
  function mark(words) {
    if (!window.Highlight || !CSS.highlights) return;
    const ranges = words.length ? [...document.querySelectorAll(".catalogue :is(h3, .heard, li):not([hidden])")] : [];
    CSS.highlights.set("found", new Highlight(...ranges.flatMap((node) => places(node, words))));
  }

  function places(node, words) {
    const ranges = [];
    const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode.data.toLowerCase();
      for (const word of words) {
        for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
          const range = new StaticRange({
            startContainer: walker.currentNode, startOffset: at, endContainer: walker.currentNode, endOffset: at + word.length,
          });
          ranges.push(range);
        }
      }
    }
    return ranges;
  }

  function remember() {
    const url = new URL(location.href);
    if (box.value.trim()) url.searchParams.set("q", box.value.trim());
    else url.searchParams.delete("q");
    try {
      history.replaceState(null, "", url);
    } catch {
      // Some browsers forbid it for files; the filter works without.
    }
  }

  function keys(event) {
    if (event.key === "/" && event.target !== box && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      box.select();
      box.focus();
    }
    if (event.key === "Escape" && event.target === box && box.value) {
      event.preventDefault();
      box.value = "";
      box.dispatchEvent(new Event("input"));
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    document.querySelector(":is(.rule, .question):not([hidden]) a:not([hidden] a)")?.focus();
  });
  box.addEventListener("input", () => {
    filter();
    remember();
  });
  document.addEventListener("keydown", keys);

  // Beside their rules the texts cost no room; above them, on a narrow screen, they would.
  const columns = topics.length ? getComputedStyle(topics[0].node).gridTemplateColumns.split(" ").length : 0;
  if (columns === 1) {
    for (const details of document.querySelectorAll(".what details")) details.open = false;
  }
  box.value = new URLSearchParams(location.search).get("q") ?? "";
  form.hidden = false;
  filter();
})();
