// What the page's scripts share: its elements and settings, the message to the person,
// and one piece of work at a time. A script imports only those before it: page.js,
// requests.js, canvas.js, tools.js, annotator.js; what a later one is to know, it is told
// by an event on `view`.

export const $ = (id) => document.getElementById(id);
export const config = JSON.parse($("config").textContent);
export const view = $("view");

export const say = (...texts) => {
  $("message").textContent = texts.filter(Boolean).join(" ");
};

// what cannot be done, in words for the person; status as in HTTP, 0 without an answer;
// confirm: what to send along once the person has confirmed
export class Refusal extends Error {
  constructor(status, message, confirm = "") {
    super(message);
    Object.assign(this, { status, confirm });
  }
}

export let busy = false;
export let actions = 0; // so far; an answer to an earlier question is out of date

const waiting = []; // keys that came meanwhile, with the radiograph that was shown

// one piece of work at a time; what cannot wait for its end is dropped
export const exclusively = async (work) => {
  if (busy) return;
  busy = true;
  actions++;
  view.ariaBusy = "true";
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    say(error.message);
  } finally {
    busy = false;
    view.ariaBusy = "false";
  }
  while (waiting.length && !busy) {
    const next = waiting.shift();
    // a second press of "save" is not for a radiograph that nobody has looked at
    if (next.shown === view.dataset.shown) next.action();
  }
};

// what a key or button does: now, or when the work in progress is done
export const perform = (action) => {
  if (busy) waiting.push({ action, shown: view.dataset.shown });
  else action();
};
