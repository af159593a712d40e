// The annotator's flow: from one radiograph to the next, corrections, what the panel says,
// keys. Keys, labels and buttons come from annotator/actions.py.

import {
  draw, fit, keep, look, mask, open, present, put, remove, resetContrast, setMask,
  showContrast, showLayers, showMask, travel, zoom,
} from "./canvas.js";
import { $, actions, busy, config, exclusively, perform, say, view } from "./page.js";
import {
  accept, areSame, askState, loadAhead, name, picture, post, round, runsOf, setAside, take,
} from "./requests.js";
import { TOOLS, choose, drop, gesture, pointer, showPointer, steer } from "./tools.js";

const POLL_MS = 2000;
const ZOOM_STEP = 1.25;

const drafts = new Map(); // what was drawn and not saved, with the version it began from
const trail = []; // ids in the order in which they were shown
let confirmPending = ""; // what is done when its key is pressed again
let confirmed = []; // what the person is asked to confirm by that, in words of api.py
let shownAt = 0;

// ---------------------------------------------------------------- from one to the next

const keepDraft = (version = open.version) => {
  drop();
  const runs = present();
  if (!areSame(runs, open.start)) drafts.set(open.id, { runs, version });
};

const unread = () => setAside.splice(0).map((why) => `Set aside: ${why}`);

const show = async (id, isClaimed = false) => {
  let next;
  try {
    next = await take(id, isClaimed);
  } catch (error) {
    if (error.status !== 422) throw error;
    say($("message").textContent, `Set aside: ${error.message}`);
    return false;
  }
  drop();
  const notes = [...unread(), ...next.notes];
  const steps = [next.start];
  const draft = drafts.get(id);
  drafts.delete(id);
  if (draft) {
    steps.push(draft.runs);
    if (draft.version !== next.version) {
      notes.push(`Radiograph ${id} was saved or flagged since you drew on it. ` +
        "You see what was saved; Redo brings back your drawing.");
    }
  }
  if (next.elsewhere) notes.push(`Radiograph ${id} is also open in another page.`);
  say($("message").textContent, ...notes);
  sessionStorage.current = JSON.stringify(id);
  confirmPending = "";
  Object.assign(pointer, { x: next.width / 2, y: next.height / 2 });
  await put(next, steps, draft?.version === next.version ? 2 : 1);
  shownAt = performance.now();
  view.dataset.shown = id;
  return true;
};

const close = () => {
  drop();
  remove();
  view.dataset.shown = "";
  delete sessionStorage.current;
  showPointer();
};

// show the next that can be read, or that there is none
const showNext = async (isClaimed = false) => {
  while (round.next.length) {
    if (await show(round.next[0], isClaimed)) break;
    follow(await askState());
    isClaimed = false;
  }
  if (!round.next.length) {
    close();
    say($("message").textContent, ...unread());
  }
  report();
  loadAhead(open?.id);
};

const follow = (state) => {
  if (!accept(state)) return;
  drafts.clear();
  trail.length = 0;
};

const go = async (id) => {
  say("");
  if (open) {
    keepDraft();
    trail.push(open.id);
  }
  if (await show(id)) report();
  else await showNext();
  loadAhead(open?.id);
};

const back = () => exclusively(async () => {
  say("");
  if (!trail.length) return say("This is the first one.");
  if (open) keepDraft();
  if (await show(trail.pop())) report();
  else await showNext();
});

// save, skip or flag: `what` is done, and the next one is shown
const act = (what, body) => exclusively(async () => {
  if (!open) return;
  drop();
  const seconds = (performance.now() - shownAt) / 1000;
  const { id, version } = open;
  if (confirmPending !== what) confirmed = [];
  confirmPending = "";
  const parameters = {
    page: name, version, seconds: seconds.toFixed(2), confirm: confirmed.join(" "),
  };
  let done;
  try {
    done = await (await post(`${what}/${encodeURIComponent(id)}`, parameters, body?.())).json();
  } catch (error) {
    if (error.confirm) {
      confirmPending = what;
      confirmed.push(error.confirm);
    }
    throw error;
  }
  if (what === "save") drafts.delete(id);
  // its own flag is no news to this page
  else keepDraft(what === "flag" ? done.version : version);
  trail.push(id);
  follow(done.state);
  say(done.message);
  await showNext(true);
});

const correct = (what, parameters = {}) => exclusively(async () => {
  if (!open) return;
  say("");
  confirmPending = "";
  drop();
  const answer = await post(`correct/${encodeURIComponent(open.id)}/${what}`, parameters, present());
  const runs = await runsOf(answer);
  if (areSame(runs, present())) return say("That changes nothing here.");
  setMask(runs);
  keep();
});

const step = (by, nothing) => {
  if (!open || busy) return;
  confirmPending = "";
  // what is not finished is no step yet: dropping it is the undoing
  if (gesture) return drop();
  say(travel(by) ? "" : nothing);
};

const clear = () => {
  if (!open || busy) return;
  confirmPending = "";
  drop();
  mask.fill(0);
  draw();
  say(keep() ? "" : "That changes nothing here.");
};

const decide = (what) => exclusively(async () => {
  if (!round.round) return;
  const waiting = count("waiting");
  if (what !== "skipped" && (waiting || round.others) && confirmPending !== what) {
    confirmPending = what;
    const others = round.others ? `${round.others} still to be drawn by others.` : "";
    return say(waiting ? `${waiting} still waiting.` : "", others,
      "Press the key again to leave them.");
  }
  confirmPending = "";
  say("");
  if (open && what === "skipped") keepDraft();
  follow(await (await post(`decide/${what}`, { page: name })).json());
  await showNext();
});

// ---------------------------------------------------------------- what the panel says

const count = (status) => round.items.filter((item) => item.status === status).length;

const duration = (seconds) =>
  seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;

const report = () => {
  const total = round.items.length;
  $("person").textContent = round.person ? `Annotator: ${round.person}` : "";
  $("headline").textContent = open ? open.place : total ? `${total} of ${total}` : "";
  $("facts").textContent = open ? open.facts : "";
  const saved = count("saved");
  const accepted = round.accepted ? ` (${round.accepted} as proposed)` : "";
  const waiting = count("waiting");
  const pace = round.seconds
    ? `, ${Math.round(round.seconds)} s each (median): ${duration(waiting * round.seconds)} left`
    : "";
  $("progress").textContent = total
    ? `${saved} saved${accepted}, ${waiting} waiting${waiting ? pace : ""}` : "";
  const left = round.rounds_left;
  $("advice").textContent = round.advice || (left ? "You may hear that you can stop after " +
    `${left === 1 ? "this round" : `${left} rounds`}, at the earliest.` : "");
  $("advice").dataset.given = Boolean(round.advice);
  $("empty").hidden = Boolean(open);
  $("empty").textContent = open ? "" : round.idle;
  $("skipped").disabled = !count("skipped");
  for (const decision of config.decisions) $(decision).disabled = !round.round;
  showStrip();
};

const STATUS_WORDS = { flagged: "not usable", skipped: "skipped", unreadable: "not readable" };

const showStrip = () => {
  const strip = $("strip");
  const wanted = round.items.map((item) => `${item.id} ${item.status} ${item.version}`);
  round.items.forEach((item, index) => {
    let button = strip.children[index];
    if (button?.dataset.shows !== wanted[index]) {
      const fresh = document.createElement("button");
      fresh.type = "button";
      fresh.dataset.shows = wanted[index];
      fresh.dataset.status = item.status;
      const image = new Image();
      image.loading = "lazy";
      image.alt = "";
      image.src = picture(item.id, "thumbnail", `${item.status}-${item.version}`);
      const words = STATUS_WORDS[item.status] ?? item.status;
      fresh.append(image, `${item.id} ${words}`);
      fresh.addEventListener("click", () => perform(() => exclusively(() => go(item.id))));
      if (button) button.replaceWith(fresh);
      else strip.append(fresh);
      button = fresh;
    }
    button.setAttribute("aria-current", item.id === open?.id);
  });
  while (strip.children.length > round.items.length) strip.lastChild.remove();
};

// ---------------------------------------------------------------- keys and buttons

const resize = (factor) => {
  const slider = $("brush_px");
  const wanted = Math.round(slider.value * factor);
  slider.value = wanted === +slider.value ? wanted + Math.sign(factor - 1) : wanted;
  showPointer();
};

const toggle = (what) => exclusively(async () => {
  if (!open) return;
  say("");
  if (what === "map" && !open.has_map) {
    return say("There is no disagreement map for this radiograph.");
  }
  if (what === "second" && !open.has_second) {
    return say("This radiograph has no proposal: you see the coarse mask itself.");
  }
  look[what] = !look[what];
  await showLayers();
});

const ACTIONS = {
  save: () => act("save", () => present()),
  skip: () => act("skip"),
  flag: () => act("flag"),
  back,
  undo: () => step(-1, "Nothing to undo."),
  redo: () => step(1, "Nothing to redo."),
  smaller: () => resize(1 / 1.3),
  larger: () => resize(1.3),
  clear,
  map: () => toggle("map"),
  second: () => toggle("second"),
  equalize: () => toggle("equalized"),
  outline: () => { look.mask = (look.mask + 1) % 3; showMask(); },
  zoom_in: () => zoom(ZOOM_STEP),
  zoom_out: () => zoom(1 / ZOOM_STEP),
  fit: () => { resetContrast(); fit(); },
  keys: () => $("help").showModal(),
  skipped: () => decide("skipped"),
};
for (const what of Object.keys(TOOLS)) ACTIONS[what] = () => choose(what);
for (const what of ["refine", "fill", "largest", "smooth", "proposal", "coarse", "merge"]) {
  ACTIONS[what] = () => correct(what);
}
for (const what of config.decisions) ACTIONS[what] = () => decide(what);

for (const [what, action] of Object.entries(ACTIONS)) {
  $(what)?.addEventListener("click", () => {
    perform(action);
    // the keyboard goes on drawing where it was
    if (!$("help").open) view.focus({ preventScroll: true });
  });
}

addEventListener("keydown", (event) => {
  if ($("help").open || event.altKey) return;
  if (event.key === "Escape") return drop();
  if (steer(event)) return event.preventDefault();
  const control = event.ctrlKey || event.metaKey;
  const key = control ? `Ctrl+${event.key}` : event.key;
  // with caps lock on, letters are the same keys
  const what = config.keys[key] ?? (control ? undefined : config.keys[key.toLowerCase()]);
  if (!what || !ACTIONS[what]) return;
  event.preventDefault();
  if (!event.repeat || config.repeats.includes(what)) perform(ACTIONS[what]);
});

view.addEventListener("pressed", () => { confirmPending = ""; });
view.addEventListener("to_edge", (event) => correct("to_edge", event.detail));
$("opacity").addEventListener("input", showMask);
for (const slider of ["brightness", "contrast"]) $(slider).addEventListener("input", showContrast);
$("guide").hidden = localStorage.guide === "closed";
$("close_guide").addEventListener("click", () => {
  localStorage.guide = "closed";
  $("guide").hidden = true;
  view.focus({ preventScroll: true });
});

// ---------------------------------------------------------------- begin, wait, leave

const begin = () => exclusively(async () => {
  const current = JSON.parse(sessionStorage.current ?? "null"); // 7 is not "7"
  follow(await askState());
  const isWaiting = round.items.some((item) => item.id === current && item.status === "waiting");
  if (isWaiting && (await show(current))) {
    report();
    loadAhead(open?.id);
  } else await showNext();
  view.focus({ preventScroll: true });
});

// a page without a radiograph asks for one; others look whether the round is over
setInterval(async () => {
  let state;
  const before = actions;
  try {
    state = await askState();
  } catch {
    return; // the next key says so
  }
  if (busy || gesture || before !== actions) return;
  const isOver = state.round !== round.round;
  follow(state);
  if (!open || isOver) await exclusively(() => showNext());
  else report();
}, POLL_MS);

addEventListener("pagehide", () => {
  navigator.sendBeacon(`api/disconnect?${new URLSearchParams({ page: name })}`);
});

choose("brush");
showContrast();
showMask();
begin();
