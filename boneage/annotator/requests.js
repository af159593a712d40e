// What is sent and fetched: masks as run lengths, pictures, and where the round stands;
// see annotator/api.py. The next radiographs are fetched ahead.

import { Refusal } from "./page.js";

const MAX_AHEAD = 4; // radiographs kept ready

export const name = [...crypto.getRandomValues(new Uint32Array(2))].join("-");
export const setAside = []; // why radiographs could not be read, until the person is told
export let round = { round: 0, idle: "", items: [], next: [] };
const ready = new Map(); // radiographs fetched ahead, by id

// ---------------------------------------------------------------- run lengths

export const encode = (pixels) => {
  const runs = [];
  for (let at = 0, value = 0; at < pixels.length; value = 1 - value) {
    const next = pixels.indexOf(1 - value, at);
    const end = next < 0 ? pixels.length : next;
    runs.push(end - at);
    at = end;
  }
  return Uint32Array.from(runs);
};

export const decode = (runs, length) => {
  const pixels = new Uint8Array(length);
  for (let index = 0, at = 0; index < runs.length; at += runs[index++]) {
    if (index % 2) pixels.fill(1, at, at + runs[index]);
  }
  return pixels;
};

export const areSame = (a, b) => a.length === b.length && a.every((run, i) => run === b[i]);

// ---------------------------------------------------------------- requests

const request = async (path, parameters = {}, body = undefined, method = "GET") => {
  const query = new URLSearchParams({ round: round.round, ...parameters });
  let answer;
  try {
    answer = await fetch(`api/${path}?${query}`, { method, body });
  } catch {
    throw new Refusal(0, "The program does not answer. What you drew stays on this " +
      "page; press the key again once it runs.");
  }
  if (answer.ok) return answer;
  const { message, confirm } = await answer.json().catch(() => ({}));
  const words = message || `The program answers ${answer.status}.`;
  throw new Refusal(answer.status, words, confirm);
};

export const post = (path, parameters, body) => request(path, parameters, body, "POST");
export const runsOf = async (answer) => new Uint32Array(await answer.arrayBuffer());

export const askState = async () => (await request("state", { page: name })).json();

// take over an answer's state; true where it is of another round
export const accept = (state) => {
  const isOther = state.round !== round.round;
  if (isOther) ready.clear();
  round = state;
  return isOther;
};

// ---------------------------------------------------------------- pictures

export const picture = (id, kind, version) =>
  `api/picture/${encodeURIComponent(id)}/${kind}?v=${encodeURIComponent(version)}`;

export const loadImage = async (address) => {
  const image = new Image();
  image.alt = "";
  image.draggable = false;
  image.src = address;
  await image.decode().catch(() => {
    throw new Refusal(0, "The picture did not arrive; reload the page.");
  });
  return image;
};

const load = async (id, page) => {
  const facts = await (await request(`open/${encodeURIComponent(id)}`, page ? { page } : {})).json();
  const [image, start] = await Promise.all([
    loadImage(picture(id, "radiograph", facts.picture)),
    request(`start/${encodeURIComponent(id)}`).then(runsOf),
  ]);
  return { ...facts, round: round.round, image, start };
};

// fetch what comes next, while the person draws on `current`
export const loadAhead = (current) => {
  for (const id of round.next) {
    if (ready.has(id) || id === current) continue;
    ready.set(id, load(id).catch((error) => {
      if (error.status === 422) setAside.push(error.message);
      return null;
    }));
  }
  for (const id of ready.keys()) {
    if (ready.size <= MAX_AHEAD) break;
    ready.delete(id);
  }
};

// a radiograph with its facts, fetched ahead or now, and claimed for this page
export const take = async (id, isClaimed) => {
  const ahead = await ready.get(id);
  ready.delete(id);
  const now = round.items.find((item) => item.id === id);
  const isFresh = ahead && ahead.round === round.round && ahead.version === now?.version;
  if (!isFresh) return load(id, name);
  if (isClaimed) return { ...ahead, elsewhere: round.elsewhere };
  const { elsewhere } = await (await request(`open/${encodeURIComponent(id)}`, { page: name })).json();
  return { ...ahead, elsewhere };
};
