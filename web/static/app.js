// Wires the page together. The server makes all markup; these modules listen, ask and put fragments in place.
import { copyOn } from "./copy.js";
import { conversation } from "./conversation.js";
import { composer } from "./composer.js";
import { runs } from "./runs.js";
import { settings } from "./settings.js";

copyOn(document);
settings();

const form = document.getElementById("ask");
if (form) {
  const talk = conversation(document.getElementById("transcript"), form);
  const box = composer(form, talk);
  runs(form, box);
}
