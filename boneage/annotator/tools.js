// The tools: what the pointer, a pen or the keyboard draws. Every gesture changes the mask
// at once, and is one step to undo. Events: `pressed`, a gesture begins; `to_edge`, a click
// that asks the program for a correction.

import {
  clip, draw, fit, keep, mask, move, open, place, present, setMask, showContrast, smallest,
  toImage, zoom,
} from "./canvas.js";
import { $, busy, view } from "./page.js";

const CLICK_PX = 8; // on the screen: the pointer may move so far in a click
const DOUBLE_CLICK_MS = 400;
const WHEEL_PX = [300, 8, 1]; // turned so far, the zoom doubles: in pixels, lines, pages
const DARKER_LEVELS = 22; // so much darker than its start the bright brush still paints

// ---------------------------------------------------------------- gestures

let tool = "brush";
export let gesture = null; // what the pointer does while it is down
export const pointer = { x: 0, y: 0, isShown: false };

const radius = () => Math.max(0.75, $("brush_px").value / place.scale);

// set the pixels nearer than `reach` to the line from a to b
const paint = (a, b, value, mayChange) => {
  const reach = radius();
  const part = clip({
    left: Math.min(a.x, b.x), right: Math.max(a.x, b.x),
    top: Math.min(a.y, b.y), bottom: Math.max(a.y, b.y),
  }, reach);
  const dx = b.x - a.x, dy = b.y - a.y, length2 = dx * dx + dy * dy || 1;
  for (let row = part.top; row < part.bottom; row++) {
    for (let column = part.left; column < part.right; column++) {
      const x = column + 0.5 - a.x, y = row + 0.5 - a.y;
      const along = Math.max(0, Math.min(1, (x * dx + y * dy) / length2));
      const at = row * open.width + column;
      if (
        (x - along * dx) ** 2 + (y - along * dy) ** 2 <= reach * reach &&
        (!mayChange || mayChange(at))
      ) mask[at] = value;
    }
  }
  draw(part);
};

// set the pixels within a polygon: between the crossings of each row's middle
const fillPolygon = (points, value) => {
  const part = clip({
    left: Math.min(...points.map((p) => p.x)), right: Math.max(...points.map((p) => p.x)),
    top: Math.min(...points.map((p) => p.y)), bottom: Math.max(...points.map((p) => p.y)),
  });
  for (let row = part.top; row < part.bottom; row++) {
    const y = row + 0.5;
    const crossings = [];
    points.forEach((a, index) => {
      const b = points[(index + 1) % points.length];
      if (a.y <= y !== b.y <= y) crossings.push(a.x + ((y - a.y) * (b.x - a.x)) / (b.y - a.y));
    });
    crossings.sort((one, other) => one - other);
    for (let index = 0; index + 1 < crossings.length; index += 2) {
      const from = Math.max(part.left, Math.ceil(crossings[index] - 0.5));
      const to = Math.min(part.right, Math.ceil(crossings[index + 1] - 0.5));
      if (from < to) mask.fill(value, row * open.width + from, row * open.width + to);
    }
  }
  draw(part);
};

// remove the smaller part of the mask on either side of the line through a and b
const cut = (a, b) => {
  const width = open.width;
  const side = (at) =>
    (b.x - a.x) * (Math.floor(at / width) + 0.5 - a.y) -
    (b.y - a.y) * ((at % width) + 0.5 - a.x) > 0;
  const counts = [0, 0];
  for (let at = mask.indexOf(1); at >= 0; at = mask.indexOf(1, at + 1)) counts[+side(at)]++;
  const goes = counts[1] <= counts[0];
  for (let at = mask.indexOf(1); at >= 0; at = mask.indexOf(1, at + 1)) {
    if (side(at) === goes) mask[at] = 0;
  }
  draw();
};

// grey levels of the radiograph by their root, as for the coarse mask: skin is fainter than
// bone; read once
const levels = () => {
  if (!open.levels) {
    const { width, height, image } = open;
    const sheet = new OffscreenCanvas(width, height).getContext("2d");
    sheet.drawImage(image, 0, 0);
    const colours = sheet.getImageData(0, 0, width, height).data;
    open.levels = new Uint8Array(width * height);
    for (let at = 0; at < open.levels.length; at++) {
      open.levels[at] = Math.sqrt(255 * colours[4 * at]);
    }
  }
  return open.levels;
};

const levelAt = (point) => {
  const column = Math.max(0, Math.min(open.width - 1, Math.floor(point.x)));
  const row = Math.max(0, Math.min(open.height - 1, Math.floor(point.y)));
  return levels()[row * open.width + column];
};

// Of each tool: what happens at the press, on the way, and at the release. A gesture
// that `stays` goes on after the release, until it is closed.
const stroke = (value, mayChangeFrom = () => null) => ({
  start: (point) => {
    const mayChange = mayChangeFrom(point);
    gesture = { last: point, value, mayChange };
    paint(point, point, value, mayChange);
  },
  move: (point) => {
    paint(gesture.last, point, gesture.value, gesture.mayChange);
    gesture.last = point;
  },
  end: finishGesture,
});

const area = (value) => ({
  start: (point) => {
    const now = performance.now();
    // a second click at a corner closes the area there
    const isDouble = gesture && now - gesture.pressedMs < DOUBLE_CLICK_MS &&
      !isFar(gesture.pressedAt, point);
    if (!gesture) gesture = { points: [point], value, stays: true };
    else gesture.points.push(point);
    Object.assign(gesture, { pressedAt: point, pressedMs: now, isDragged: false });
    if (isDouble || isAtStart(point)) closeArea();
  },
  move: (point) => {
    gesture.points.push(point);
    gesture.isDragged ||= isFar(gesture.pressedAt, point);
  },
  // dragged: the area is closed at the release; clicked: it waits for its next corner
  end: () => {
    if (gesture.isDragged) closeArea();
    else gesture.isWaiting = true;
  },
});

const isFar = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) * place.scale > CLICK_PX;
const isAtStart = (point) =>
  gesture.points.length > 3 && !isFar(gesture.points[0], point);

const closeArea = () => {
  const { points, value } = gesture;
  if (points.length > 2) fillPolygon(points, value);
  finishGesture();
};

const finishGesture = () => {
  gesture = null;
  keep();
  showPointer();
};

// the hand is brighter than what surrounds it: from the skin, bone is painted as well
const notDarker = (point) => {
  const grey = levels(), darkest = levelAt(point) - DARKER_LEVELS;
  return (at) => grey[at] >= darkest;
};

export const TOOLS = {
  brush: stroke(1),
  eraser: stroke(0),
  bright: stroke(1, notDarker),
  add_area: area(1),
  remove_area: area(0),
  cut: {
    start: (point) => { gesture = { points: [point, point] }; },
    move: (point) => { gesture.points[1] = point; },
    end: (point) => {
      const start = gesture.points[0];
      if (isFar(start, point)) cut(start, point);
      finishGesture();
    },
  },
  to_edge: {
    start: (point) => { gesture = { at: point }; },
    move: () => {},
    end: () => {
      const at = gesture.at;
      gesture = null;
      const detail = { row: Math.floor(at.y), column: Math.floor(at.x) };
      view.dispatchEvent(new CustomEvent("to_edge", { detail }));
    },
  },
};

export const drop = () => {
  if (!gesture) return;
  gesture = null;
  setMask(present());
  showPointer();
};

export const choose = (wanted) => {
  drop();
  tool = wanted;
  for (const other of Object.keys(TOOLS)) $(other).setAttribute("aria-pressed", other === tool);
  showPointer();
};

// the circle under the pointer, and the line that is being drawn
export const showPointer = () => {
  const [circle, line] = ["circle", "polyline"].map((shape) => $("preview").querySelector(shape));
  const onScreen = (p) => ({ x: p.x * place.scale + place.x, y: p.y * place.scale + place.y });
  const { x, y } = onScreen(pointer);
  const isRound = ["brush", "eraser", "bright"].includes(tool);
  const shownPx = isRound ? radius() * place.scale : 3;
  circle.setAttribute("cx", x);
  circle.setAttribute("cy", y);
  circle.setAttribute("r", open && pointer.isShown ? shownPx : 0);
  const points = [...gesture?.points ?? [], ...(gesture?.isWaiting ? [pointer] : [])];
  line.setAttribute("points", points.map(onScreen).map((p) => `${p.x},${p.y}`).join(" "));
};

const press = (point) => {
  if (!open || busy) return;
  view.dispatchEvent(new Event("pressed"));
  TOOLS[tool].start(point);
};
const drag = (point) => {
  if (gesture && !gesture.isWaiting) TOOLS[tool].move(point);
};
const release = (point) => {
  if (gesture && !gesture.isWaiting) TOOLS[tool].end(point);
};

// ---------------------------------------------------------------- mouse and pen

let grip = null; // a drag that moves the picture or its contrast
let drawing = null; // id of the pointer that draws; the keyboard has none
let isPenUsed = false; // then a finger is no pencil, and the hand may rest on the screen
let erasedWith = ""; // the tool to return to after the pen's eraser
const fingers = new Map(); // on the screen, by pointer id
const PEN_ERASER = 5; // a button, in words of pointer events

const inView = (event) => {
  const box = view.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
};
const at = (event) => {
  const { x, y } = inView(event);
  return toImage(x, y);
};

// what a pressed pointer moves, or null where it draws
const gripOf = (event) => {
  if (event.pointerType === "touch") {
    if (fingers.size > 1) return "pinch";
    if (isPenUsed) return "place";
  }
  if (event.button === 1 || (event.button === 0 && event.shiftKey)) return "place";
  return event.button === 2 ? "contrast" : null;
};

view.addEventListener("pointerdown", (event) => {
  if (!open || (event.target.closest && event.target.closest("#empty"))) return;
  event.preventDefault();
  // a hand that rests on the screen, or a second button
  if (drawing !== null && (isPenUsed || event.pointerType !== "touch")) return;
  view.setPointerCapture(event.pointerId);
  view.focus({ preventScroll: true });
  if (event.pointerType === "touch") fingers.set(event.pointerId, inView(event));
  isPenUsed ||= event.pointerType === "pen";
  grip = gripOf(event);
  if (grip === "pinch") { // the first finger was not to draw
    drawing = null;
    drop();
  }
  if (grip) return;
  if (event.button === PEN_ERASER && tool !== "eraser") {
    erasedWith = tool;
    choose("eraser");
  } else if (event.button !== 0) return;
  if (gesture) gesture.isWaiting = false;
  drawing = event.pointerId;
  press(at(event));
});

// two fingers: what lies between them stays there, as far apart as they are
const pinch = (event) => {
  const [one, other] = [...fingers.values()];
  const before = { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 };
  const apart = Math.hypot(one.x - other.x, one.y - other.y);
  Object.assign(fingers.get(event.pointerId), inView(event));
  const x = (one.x + other.x) / 2, y = (one.y + other.y) / 2;
  place.x += x - before.x;
  place.y += y - before.y;
  zoom(Math.hypot(one.x - other.x, one.y - other.y) / (apart || 1), x, y);
};

view.addEventListener("pointermove", (event) => {
  if (!open) return;
  if (grip === "pinch") {
    if (fingers.size === 2 && fingers.has(event.pointerId)) pinch(event);
  } else if (grip === "place") {
    const finger = fingers.get(event.pointerId), now = inView(event);
    place.x += finger ? now.x - finger.x : event.movementX;
    place.y += finger ? now.y - finger.y : event.movementY;
    if (finger) Object.assign(finger, now);
    move();
  } else if (grip === "contrast") {
    $("contrast").valueAsNumber += event.movementX / 3;
    $("brightness").valueAsNumber -= event.movementY / 3;
    showContrast();
  } else if (event.pointerId === drawing) {
    // all points since the last event, so that fast strokes stay round
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) drag(at(each));
  }
  Object.assign(pointer, at(event), { isShown: event.pointerType !== "touch" });
  showPointer();
});

const lift = (event) => {
  fingers.delete(event.pointerId);
  if (event.pointerId !== drawing) {
    // of two fingers one may stay: it does nothing any more
    if (grip !== "pinch" || !fingers.size) grip = null;
    return;
  }
  drawing = null;
  release(at(event));
  if (erasedWith) choose(erasedWith);
  erasedWith = "";
};
view.addEventListener("pointerup", lift);
view.addEventListener("pointercancel", (event) => {
  fingers.delete(event.pointerId);
  grip = drawing = null;
  drop();
});
view.addEventListener("contextmenu", (event) => event.preventDefault());
view.addEventListener("pointerleave", () => { pointer.isShown = false; showPointer(); });
view.addEventListener("wheel", (event) => {
  event.preventDefault();
  const { x, y } = inView(event);
  zoom(2 ** (-event.deltaY / WHEEL_PX[event.deltaMode]), x, y);
}, { passive: false });
view.addEventListener("moved", showPointer);
$("brush_px").addEventListener("input", showPointer);
addEventListener("resize", () => fit());

// ---------------------------------------------------------------- drawing by keyboard

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export const steer = (event) => {
  if (!open || event.target !== view) return false;
  if (STEPS[event.key]) {
    const by = event.shiftKey ? 1 : 12 / place.scale;
    pointer.x = Math.max(0, Math.min(open.width - 1, pointer.x + by * STEPS[event.key][0]));
    pointer.y = Math.max(0, Math.min(open.height - 1, pointer.y + by * STEPS[event.key][1]));
    pointer.isShown = true;
    drag({ ...pointer });
    keepInSight();
  } else if (event.key === " " && !event.repeat) {
    if (gesture?.stays) {
      gesture.points.push({ ...pointer });
    } else if (gesture) {
      release({ ...pointer });
    } else {
      press({ ...pointer });
      if (gesture?.stays) gesture.isWaiting = true;
      if (tool === "to_edge") release({ ...pointer });
    }
  } else if (event.key === "Enter" && gesture?.stays) closeArea();
  else return false;
  showPointer();
  return true;
};

const keepInSight = () => {
  const x = pointer.x * place.scale + place.x, y = pointer.y * place.scale + place.y;
  const margin = 30;
  place.x += Math.max(0, margin - x) - Math.max(0, x - view.clientWidth + margin);
  place.y += Math.max(0, margin - y) - Math.max(0, y - view.clientHeight + margin);
  if (place.scale > smallest()) move();
  else fit();
};
