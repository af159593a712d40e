// The drawing surface: the radiograph, the mask over it, zoom and contrast, undo. The mask
// is an array of 0 and 1, a pixel of the radiograph each. Event: `moved`, the radiograph
// lies elsewhere on the screen.

import { $, config, view } from "./page.js";
import { areSame, decode, encode, loadImage, picture } from "./requests.js";

const HISTORY_STEPS = 100;
const LARGEST_ZOOM = 16;
const OUTLINE_PX = 1.6; // on the screen

const stage = $("stage");
const canvas = $("mask");
const context = canvas.getContext("2d");
const [red, green, blue] = config.mask_colour;
const INSIDE = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

export let open = null; // facts and pictures of the radiograph on the page
export let mask = new Uint8Array(0);
let history = { steps: [], next: 0 }; // run lengths; `next` points behind the present

// ---------------------------------------------------------------- zoom and place

export const place = { scale: 1, x: 0, y: 0 };

export const move = () => {
  stage.style.transform = `translate(${place.x}px, ${place.y}px) scale(${place.scale})`;
  for (const layer of stage.children) layer.classList.toggle("pixels", place.scale > 2);
  if (drawnRim !== rimPx()) draw();
  view.dispatchEvent(new Event("moved"));
};

export const smallest = () =>
  Math.min(view.clientWidth / open.width, view.clientHeight / open.height);

export const fit = () => {
  if (!open) return;
  place.scale = smallest();
  place.x = (view.clientWidth - place.scale * open.width) / 2;
  place.y = (view.clientHeight - place.scale * open.height) / 2;
  move();
};

export const zoom = (factor, x = view.clientWidth / 2, y = view.clientHeight / 2) => {
  if (!open) return;
  const before = place.scale;
  const wanted = Math.min(LARGEST_ZOOM, before * factor);
  if (wanted <= smallest()) return fit();
  place.scale = wanted;
  place.x = x - ((x - place.x) * wanted) / before;
  place.y = y - ((y - place.y) * wanted) / before;
  move();
};

export const toImage = (x, y) => ({
  x: (x - place.x) / place.scale,
  y: (y - place.y) / place.scale,
});

// ---------------------------------------------------------------- how it looks

// mask: 0 as area, 1 as outline, 2 not at all
export const look = { mask: 0, map: false, second: false, equalized: false };
const MASK_LOOKS = ["area", "outline", "hidden"];

export const showContrast = () => {
  // brightness moves the grey level in the middle, contrast narrows the window
  const slope = 2 ** ($("contrast").value / 33);
  const middle = 0.5 - $("brightness").value / 200;
  for (const channel of $("window").firstElementChild.children) {
    channel.setAttribute("slope", slope);
    channel.setAttribute("intercept", 0.5 - slope * middle);
  }
};

export const resetContrast = () => {
  $("brightness").value = $("contrast").value = 0;
  showContrast();
};

export const showMask = () => {
  canvas.style.opacity = look.mask === 1 ? 1 : $("opacity").value / 100;
  canvas.style.visibility = look.mask === 2 ? "hidden" : "visible";
  $("outline").setAttribute("aria-pressed", look.mask === 1);
  $("outline").dataset.shown = MASK_LOOKS[look.mask];
  draw();
};

export const showLayers = async () => {
  const { id, image } = open;
  const version = open.picture;
  let shown = image;
  if (look.equalized) {
    open.equalized ??= await loadImage(picture(id, "equalized", version));
    shown = open.equalized;
  }
  let map = null;
  if (look.map && open.has_map) {
    open.map ??= await loadImage(picture(id, "disagreement", version));
    map = open.map;
  }
  let second = null;
  if (look.second && open.has_second) {
    open.second ??= await loadImage(picture(id, "second", version));
    second = open.second;
  }
  shown.id = "radiograph";
  stage.replaceChildren(...[shown, map, canvas, second].filter(Boolean));
  $("map").setAttribute("aria-pressed", look.map);
  $("second").setAttribute("aria-pressed", look.second);
  $("equalize").setAttribute("aria-pressed", look.equalized);
  move();
};

// ---------------------------------------------------------------- the mask on screen

let layer = null; // ImageData, and its pixels as one number each
let layerPixels = null;
let drawnRim = 0;

// width of the outline, in pixels of the radiograph; 0 where the area is shown
const rimPx = () => look.mask === 1 ? Math.max(1, Math.round(OUTLINE_PX / place.scale)) : 0;

const everything = () => ({ left: 0, top: 0, right: open.width, bottom: open.height });

export const draw = (part = null) => {
  if (!open) return;
  const width = open.width;
  const rim = drawnRim = rimPx();
  const { left, top, right, bottom } = clip(part ?? everything(), rim);
  if (left >= right || top >= bottom) return;
  for (let row = top; row < bottom; row++) {
    const from = row * width;
    for (let at = from + left, end = from + right; at < end; at++) {
      layerPixels[at] = mask[at] ? INSIDE : 0;
    }
  }
  if (rim) hollow(left, top, right, bottom, rim);
  context.putImageData(layer, 0, 0, left, top, right - left, bottom - top);
};

// leave of the area only what is nearer to the outside than `rim`
const hollow = (left, top, right, bottom, rim) => {
  const { width, height } = open;
  for (let row = top; row < bottom; row++) {
    if (row < rim || row >= height - rim) continue;
    const from = row * width;
    for (let column = Math.max(left, rim); column < Math.min(right, width - rim); column++) {
      const at = from + column;
      if (
        mask[at] && mask[at - rim] && mask[at + rim] &&
        mask[at - rim * width] && mask[at + rim * width]
      ) layerPixels[at] = 0;
    }
  }
};

export const clip = ({ left, top, right, bottom }, margin = 0) => ({
  left: Math.max(0, Math.floor(left - margin)),
  top: Math.max(0, Math.floor(top - margin)),
  right: Math.min(open.width, Math.ceil(right + margin)),
  bottom: Math.min(open.height, Math.ceil(bottom + margin)),
});

// ---------------------------------------------------------------- undo and redo

export const present = () => history.steps[history.next - 1];

// keep the mask as it is now as a step; false where it is the last one's
export const keep = () => {
  const runs = encode(mask);
  if (areSame(runs, present())) return false;
  history.steps.length = history.next;
  history.steps.push(runs);
  if (history.steps.length > HISTORY_STEPS) history.steps.shift();
  history.next = history.steps.length;
  return true;
};

export const setMask = (runs) => {
  mask = decode(runs, open.width * open.height);
  draw();
};

// go back (-1) or forth (1); false where there is no such step
export const travel = (by) => {
  const next = history.next + by;
  if (next < 1 || next > history.steps.length) return false;
  history.next = next;
  setMask(present());
  return true;
};

// ---------------------------------------------------------------- from one to the next

// put a radiograph on the page, with the steps of its mask; `next` as in `history`
export const put = async (image, steps, next) => {
  open = image;
  canvas.width = open.width;
  canvas.height = open.height;
  layer = context.createImageData(open.width, open.height);
  layerPixels = new Uint32Array(layer.data.buffer);
  history = { steps, next };
  mask = decode(present(), open.width * open.height);
  resetContrast();
  place.scale = smallest();
  await showLayers();
  fit();
  draw();
};

export const remove = () => {
  open = null;
  stage.replaceChildren(canvas);
  canvas.width = canvas.height = 0;
};
