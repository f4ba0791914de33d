// The transcript: one question at a time goes out, and its answer comes in block by block.
import { events } from "./stream.js";
import { announce, asking, word } from "./words.js";

const LONGEST_LINK = 2000;
const MOST_MESSAGES = 50;
const MOST_CHARACTERS = 100_000;

/** The conversation in `transcript`, asked with the fields of `form`. */
export function conversation(transcript, form) {
  let running = null;

  async function ask(question, profile = form.elements.profile.value) {
    stop();
    const control = new AbortController();
    running = control;
    const earlier = said(transcript);
    const turn = newTurn(transcript, question);
    busy(true);
    link(question, profile);
    try {
      await fill(turn, await send(form, question, profile, earlier, control.signal));
      announce(`${word("ready")} ${turn.querySelector("h2, h3, p.lede, .prose p")?.textContent ?? ""}`);
    } catch (error) {
      if (control.signal.aborted) note(turn, word("stopped"));
      else fail(turn, error, () => ask(question, profile));
    } finally {
      finish(turn);
      if (running === control) {
        running = null;
        busy(false);
      }
    }
  }

  function stop() {
    running?.abort();
  }

  function busy(state) {
    transcript.setAttribute("aria-busy", String(state));
    form.classList.toggle("busy", state);
  }

  return { ask, stop, get running() { return running !== null; } };
}

/** The question with an empty answer below, scrolled so that the answer has the whole window to fill. */
function newTurn(transcript, question) {
  transcript.querySelector(".hello")?.remove();
  transcript.querySelector(".latest")?.classList.remove("latest");
  const turn = document.getElementById("new-turn").content.cloneNode(true).querySelector(".turn");
  turn.querySelector(".said").textContent = question;
  turn.classList.add("latest");
  transcript.append(turn);
  const said = turn.querySelector(".me"); // a pasted log scrolls, by keyboard too
  if (said.scrollHeight > said.clientHeight) said.tabIndex = 0;
  turn.scrollIntoView({ block: "start", behavior: "instant" });
  return turn;
}

/** What the user wrote in this conversation, oldest first; of a long one, the end. */
function said(transcript) {
  const messages = [...transcript.querySelectorAll(".said")].map((node) => node.textContent).slice(-MOST_MESSAGES);
  while (messages.reduce((sum, text) => sum + text.length, 0) > MOST_CHARACTERS) messages.shift();
  return messages;
}

async function send(form, question, profile, earlier, signal) {
  const body = new URLSearchParams(new FormData(form));
  body.set("question", question);
  body.set("profile", profile);
  body.set("history", JSON.stringify(earlier));
  let response;
  try {
    response = await fetch("/", { method: "POST", body, headers: { accept: "text/event-stream" }, signal });
  } catch (error) {
    throw signal.aborted ? error : new Error(word("error.network"));
  }
  if (!response.ok) throw new Error((await problem(response)).detail);
  return response;
}

async function problem(response) {
  try {
    return await response.json();
  } catch {
    return { detail: `${response.status} ${response.statusText}` };
  }
}

async function fill(turn, response) {
  const reply = turn.querySelector(".reply");
  for await (const { name, data } of events(response)) {
    if (name === "meta") reply.lang = data.lang;
    if (name === "block") {
      reply.querySelector(".waiting")?.remove();
      reply.append(...fragment(data.html));
    }
    if (name === "error") throw new Error(data.detail);
    if (name === "done") return;
  }
  throw new Error(word("error.cut"));
}

/** The nodes of markup that the server made and escaped. A parsed document runs no scripts. */
function fragment(html) {
  return new DOMParser().parseFromString(html, "text/html").body.childNodes;
}

function note(turn, text) {
  turn.querySelector(".waiting")?.remove();
  const line = document.createElement("p");
  line.className = "coverage";
  line.textContent = text;
  turn.querySelector(".reply").append(line);
  announce(text);
}

function fail(turn, error, again) {
  turn.querySelector(".waiting")?.remove();
  const card = document.getElementById("new-problem").content.cloneNode(true);
  card.querySelector(".detail").textContent = error.message;
  card.querySelector(".again").addEventListener("click", again);
  const reply = turn.querySelector(".reply");
  reply.removeAttribute("lang");
  reply.append(card);
  announce(`${word("error")}. ${error.message}`);
}

function finish(turn) {
  turn.removeAttribute("aria-busy");
}

/** The address bar holds the last question, so that a reload or a shared link asks it again. */
function link(question, profile) {
  const page = new URL("/", location.href);
  if (profile) page.searchParams.set("profile", profile);
  if (question.length <= LONGEST_LINK) history.replaceState(null, "", asking(page.href, question));
}
