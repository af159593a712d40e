// The annotator's page. The mask is an array of 0 and 1, a pixel of the radiograph each;
// every gesture changes it here at once, and is one step to undo. The program is asked
// for pictures, corrections and to save; see annotator/api.py. Keys, labels and buttons
// come from annotator/actions.py.
"use strict";
(() => {
  const POLL_MS = 2000;
  const HISTORY_STEPS = 100;
  const ZOOM_STEP = 1.25;
  const LARGEST_ZOOM = 16;
  const OUTLINE_PX = 1.6; // on the screen, as the next
  const CLICK_PX = 8; // the pointer may move so far in a click
  const SIMILAR_LEVELS = 22; // grey levels that count as equally bright
  const MAX_AHEAD = 4; // radiographs kept ready

  const config = JSON.parse(document.getElementById("config").textContent);
  const $ = (id) => document.getElementById(id);
  const view = $("view");
  const stage = $("stage");
  const canvas = $("mask");
  const context = canvas.getContext("2d");
  const name = [...crypto.getRandomValues(new Uint32Array(2))].join("-");
  const [red, green, blue] = config.mask_colour;
  const INSIDE = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

  let round = { round: 0, idle: "", items: [], next: [] };
  let open = null; // facts and pictures of the radiograph on the page
  let mask = new Uint8Array(0);
  let history = { steps: [], next: 0 }; // run lengths; `next` points behind the present
  const drafts = new Map(); // what was drawn and not saved, with the version it began from
  const trail = []; // ids in the order in which they were shown
  const ready = new Map(); // radiographs fetched ahead, by id
  const setAside = []; // why radiographs could not be read, until the person is told
  let confirmPending = "";
  let busy = false;
  let actions = 0; // so far; an answer to an earlier question is out of date
  let shownAt = 0;

  // ---------------------------------------------------------------- run lengths

  const encode = (pixels) => {
    const runs = [];
    for (let at = 0, value = 0; at < pixels.length; value = 1 - value) {
      const next = pixels.indexOf(1 - value, at);
      const end = next < 0 ? pixels.length : next;
      runs.push(end - at);
      at = end;
    }
    return Uint32Array.from(runs);
  };

  const decode = (runs, length) => {
    const pixels = new Uint8Array(length);
    for (let index = 0, at = 0; index < runs.length; at += runs[index++]) {
      if (index % 2) pixels.fill(1, at, at + runs[index]);
    }
    return pixels;
  };

  const areSame = (a, b) => a.length === b.length && a.every((run, i) => run === b[i]);

  // ---------------------------------------------------------------- requests

  class Refusal extends Error {
    constructor(status, message) {
      super(message);
      this.status = status;
    }
  }

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
    const { message } = await answer.json().catch(() => ({}));
    throw new Refusal(answer.status, message || `The program answers ${answer.status}.`);
  };

  const post = (path, parameters, body) => request(path, parameters, body, "POST");
  const runsOf = async (answer) => new Uint32Array(await answer.arrayBuffer());

  // one at a time; strokes and keys that come meanwhile are not for the answer
  const exclusively = async (work) => {
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
  };

  const say = (...texts) => {
    $("message").textContent = texts.filter(Boolean).join(" ");
  };

  // ---------------------------------------------------------------- pictures

  const picture = (id, kind, version) =>
    `api/picture/${id}/${kind}?v=${encodeURIComponent(version)}`;

  const loadImage = async (address) => {
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
    const facts = await (await request(`open/${id}`, page ? { page } : {})).json();
    const [image, start] = await Promise.all([
      loadImage(picture(id, "radiograph", facts.picture)),
      request(`start/${id}`).then(runsOf),
    ]);
    return { ...facts, round: round.round, image, start };
  };

  const loadAhead = () => {
    for (const id of round.next) {
      if (ready.has(id) || id === open?.id) continue;
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

  const take = async (id, isClaimed) => {
    const ahead = await ready.get(id);
    ready.delete(id);
    const now = round.items.find((item) => item.id === id);
    const isFresh = ahead && ahead.round === round.round && ahead.version === now?.version;
    if (!isFresh) return load(id, name);
    if (isClaimed) return { ...ahead, elsewhere: round.elsewhere };
    const { elsewhere } = await (await request(`open/${id}`, { page: name })).json();
    return { ...ahead, elsewhere };
  };

  // ---------------------------------------------------------------- zoom and place

  const place = { scale: 1, x: 0, y: 0 };

  const move = () => {
    stage.style.transform = `translate(${place.x}px, ${place.y}px) scale(${place.scale})`;
    for (const layer of stage.children) layer.classList.toggle("pixels", place.scale > 2);
    if (drawnRim !== rimPx()) draw();
    showPointer();
  };

  const smallest = () =>
    Math.min(view.clientWidth / open.width, view.clientHeight / open.height);

  const fit = () => {
    if (!open) return;
    place.scale = smallest();
    place.x = (view.clientWidth - place.scale * open.width) / 2;
    place.y = (view.clientHeight - place.scale * open.height) / 2;
    move();
  };

  const zoom = (factor, x = view.clientWidth / 2, y = view.clientHeight / 2) => {
    if (!open) return;
    const before = place.scale;
    const wanted = Math.min(LARGEST_ZOOM, before * factor);
    if (wanted <= smallest()) return fit();
    place.scale = wanted;
    place.x = x - ((x - place.x) * wanted) / before;
    place.y = y - ((y - place.y) * wanted) / before;
    move();
  };

  const toImage = (x, y) => ({
    x: (x - place.x) / place.scale,
    y: (y - place.y) / place.scale,
  });

  // ---------------------------------------------------------------- how it looks

  // mask: 0 as area, 1 as outline, 2 not at all
  const look = { mask: 0, map: false, equalized: false };
  const MASK_LOOKS = ["area", "outline", "hidden"];

  const showContrast = () => {
    // brightness moves the grey level in the middle, contrast narrows the window
    const slope = 2 ** ($("contrast").value / 33);
    const middle = 0.5 - $("brightness").value / 200;
    for (const channel of $("window").firstElementChild.children) {
      channel.setAttribute("slope", slope);
      channel.setAttribute("intercept", 0.5 - slope * middle);
    }
  };

  const resetContrast = () => {
    $("brightness").value = $("contrast").value = 0;
    showContrast();
  };

  const showMask = () => {
    canvas.style.opacity = look.mask === 1 ? 1 : $("opacity").value / 100;
    canvas.style.visibility = look.mask === 2 ? "hidden" : "visible";
    $("outline").setAttribute("aria-pressed", look.mask === 1);
    $("outline").dataset.shown = MASK_LOOKS[look.mask];
    draw();
  };

  const showLayers = async () => {
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
    shown.id = "radiograph";
    stage.replaceChildren(...[shown, map, canvas].filter(Boolean));
    $("map").setAttribute("aria-pressed", look.map);
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

  const draw = (part = null) => {
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

  const clip = ({ left, top, right, bottom }, margin = 0) => ({
    left: Math.max(0, Math.floor(left - margin)),
    top: Math.max(0, Math.floor(top - margin)),
    right: Math.min(open.width, Math.ceil(right + margin)),
    bottom: Math.min(open.height, Math.ceil(bottom + margin)),
  });

  // ---------------------------------------------------------------- undo and redo

  const present = () => history.steps[history.next - 1];

  // keep the mask as it is now as a step; false where it is the last one's
  const keep = () => {
    const runs = encode(mask);
    if (areSame(runs, present())) return false;
    history.steps.length = history.next;
    history.steps.push(runs);
    if (history.steps.length > HISTORY_STEPS) history.steps.shift();
    history.next = history.steps.length;
    return true;
  };

  const setMask = (runs) => {
    mask = decode(runs, open.width * open.height);
    draw();
  };

  const step = (by, nothing) => {
    if (!open || busy) return;
    // what is not finished is no step yet: dropping it is the undoing
    if (gesture) return drop();
    const next = history.next + by;
    if (next < 1 || next > history.steps.length) return say(nothing);
    history.next = next;
    setMask(present());
    say("");
  };

  // ---------------------------------------------------------------- gestures

  let tool = "brush";
  let gesture = null; // what the pointer does while it is down
  const pointer = { x: 0, y: 0, isShown: false };

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

  // grey levels of the radiograph as it was sent, read once
  const levels = () => {
    if (!open.levels) {
      const { width, height, image } = open;
      const sheet = new OffscreenCanvas(width, height).getContext("2d");
      sheet.drawImage(image, 0, 0);
      const colours = sheet.getImageData(0, 0, width, height).data;
      open.levels = new Uint8Array(width * height);
      for (let at = 0; at < open.levels.length; at++) open.levels[at] = colours[4 * at];
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
      if (!gesture) gesture = { points: [point], value, stays: true };
      else gesture.points.push(point);
      Object.assign(gesture, { pressedAt: point, isDragged: false });
      if (isAtStart(point)) closeArea();
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

  const similar = (point) => {
    const grey = levels(), middle = levelAt(point);
    return (at) => Math.abs(grey[at] - middle) <= SIMILAR_LEVELS;
  };

  const TOOLS = {
    brush: stroke(1),
    eraser: stroke(0),
    similar: stroke(1, similar),
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
        correct("to_edge", { row: Math.floor(at.y), column: Math.floor(at.x) });
      },
    },
  };

  const drop = () => {
    if (!gesture) return;
    gesture = null;
    setMask(present());
    showPointer();
  };

  const choose = (wanted) => {
    drop();
    tool = wanted;
    for (const other of Object.keys(TOOLS)) $(other).setAttribute("aria-pressed", other === tool);
    showPointer();
  };

  // the circle under the pointer, and the line that is being drawn
  const showPointer = () => {
    const [circle, line] = [$("preview").querySelector("circle"), $("preview").querySelector("polyline")];
    const isRound = ["brush", "eraser", "similar"].includes(tool);
    const { x, y } = { x: pointer.x * place.scale + place.x, y: pointer.y * place.scale + place.y };
    circle.setAttribute("cx", x);
    circle.setAttribute("cy", y);
    circle.setAttribute("r", open && pointer.isShown ? (isRound ? radius() * place.scale : 3) : 0);
    const points = gesture?.points ? [...gesture.points, ...(gesture.isWaiting ? [pointer] : [])] : [];
    line.setAttribute("points", points
      .map((p) => `${p.x * place.scale + place.x},${p.y * place.scale + place.y}`).join(" "));
  };

  const press = (point) => {
    if (!open || busy) return;
    confirmPending = "";
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
  const at = (event) => {
    const box = view.getBoundingClientRect();
    return toImage(event.clientX - box.left, event.clientY - box.top);
  };

  view.addEventListener("pointerdown", (event) => {
    if (!open || (event.target.closest && event.target.closest("#empty"))) return;
    view.setPointerCapture(event.pointerId);
    view.focus({ preventScroll: true });
    event.preventDefault();
    if (event.button === 1 || (event.button === 0 && event.shiftKey)) grip = "place";
    else if (event.button === 2) grip = "contrast";
    else if (event.button === 0) {
      if (gesture) gesture.isWaiting = false;
      press(at(event));
    }
  });

  view.addEventListener("pointermove", (event) => {
    if (!open) return;
    if (grip === "place") {
      place.x += event.movementX;
      place.y += event.movementY;
      move();
    } else if (grip === "contrast") {
      $("contrast").valueAsNumber += event.movementX / 3;
      $("brightness").valueAsNumber -= event.movementY / 3;
      showContrast();
    } else {
      // all points since the last event, so that fast strokes stay round
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) drag(at(each));
    }
    Object.assign(pointer, at(event), { isShown: true });
    showPointer();
  });

  const lift = (event) => {
    if (grip) grip = null;
    else if (event.button === 0) release(at(event));
  };
  view.addEventListener("pointerup", lift);
  view.addEventListener("pointercancel", () => { grip = null; drop(); });
  view.addEventListener("dblclick", () => { if (gesture?.isWaiting) closeArea(); });
  view.addEventListener("contextmenu", (event) => event.preventDefault());
  view.addEventListener("pointerleave", () => { pointer.isShown = false; showPointer(); });
  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = view.getBoundingClientRect();
    zoom(2 ** (-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  addEventListener("resize", () => fit());

  // ---------------------------------------------------------------- drawing by keyboard

  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  const steer = (event) => {
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
    open = next;
    sessionStorage.current = id;
    canvas.width = open.width;
    canvas.height = open.height;
    layer = context.createImageData(open.width, open.height);
    layerPixels = new Uint32Array(layer.data.buffer);
    history = { steps: [open.start], next: 1 };
    const notes = [...unread(), ...open.notes];
    const draft = drafts.get(id);
    drafts.delete(id);
    if (draft) {
      history.steps.push(draft.runs);
      if (draft.version === open.version) history.next = 2;
      else notes.push(`Radiograph ${id} was saved or flagged since you drew on it. ` +
        "You see what was saved; Redo brings back your drawing.");
    }
    if (open.elsewhere) notes.push(`Radiograph ${id} is also open in another page.`);
    say($("message").textContent, ...notes);
    mask = decode(present(), open.width * open.height);
    confirmPending = "";
    gesture = null;
    resetContrast();
    place.scale = smallest();
    pointer.x = open.width / 2;
    pointer.y = open.height / 2;
    await showLayers();
    fit();
    draw();
    shownAt = performance.now();
    view.dataset.shown = id;
    return true;
  };

  const close = () => {
    open = null;
    gesture = null;
    stage.replaceChildren(canvas);
    canvas.width = canvas.height = 0;
    view.dataset.shown = "";
    delete sessionStorage.current;
    showPointer();
  };

  // show the next that can be read, or that there is none
  const showNext = async (isClaimed = false) => {
    while (round.next.length) {
      if (await show(round.next[0], isClaimed)) break;
      await ask();
      isClaimed = false;
    }
    if (!round.next.length) {
      close();
      say($("message").textContent, ...unread());
    }
    report();
    loadAhead();
  };

  const ask = async () => {
    accept(await (await request("state", { page: name })).json());
  };

  const accept = (state) => {
    if (state.round !== round.round) {
      for (const kept of [drafts, ready]) kept.clear();
      trail.length = 0;
    }
    round = state;
  };

  const go = async (id) => {
    say("");
    if (open) {
      keepDraft();
      trail.push(open.id);
    }
    if (await show(id)) report();
    else await showNext();
    loadAhead();
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
    const overwrite = confirmPending === what ? 1 : 0;
    confirmPending = "";
    let done;
    try {
      const parameters = { page: name, version, seconds: seconds.toFixed(2), overwrite };
      done = await (await post(`${what}/${id}`, parameters, body?.())).json();
    } catch (error) {
      if (error.status === 409) confirmPending = what;
      throw error;
    }
    if (what === "save") drafts.delete(id);
    // its own flag is no news to this page
    else keepDraft(what === "flag" ? done.version : version);
    trail.push(id);
    accept(done.state);
    say(done.message);
    await showNext(true);
  });

  const correct = (what, parameters = {}) => exclusively(async () => {
    if (!open) return;
    say("");
    confirmPending = "";
    drop();
    const answer = await post(`correct/${open.id}/${what}`, parameters, present());
    const runs = await runsOf(answer);
    if (areSame(runs, present())) return say("That changes nothing here.");
    setMask(runs);
    keep();
  });

  const clear = () => {
    if (!open || busy) return;
    drop();
    mask.fill(0);
    draw();
    say(keep() ? "" : "That changes nothing here.");
  };

  const decide = (what) => exclusively(async () => {
    if (!round.round) return;
    const waiting = count("waiting");
    if (what !== "skipped" && waiting && confirmPending !== what) {
      confirmPending = what;
      return say(`${waiting} still waiting. Press the key again to leave them.`);
    }
    confirmPending = "";
    say("");
    if (open && what === "skipped") keepDraft();
    accept(await (await post(`decide/${what}`, { page: name })).json());
    await showNext();
  });

  // ---------------------------------------------------------------- what the panel says

  const count = (status) => round.items.filter((item) => item.status === status).length;

  const report = () => {
    const total = round.items.length;
    $("headline").textContent = open ? open.place : total ? `${total} of ${total}` : "";
    $("facts").textContent = open ? open.facts : "";
    const saved = count("saved");
    const accepted = round.accepted ? ` (${round.accepted} as proposed)` : "";
    const pace = round.seconds ? `, ${Math.round(round.seconds)} s each` : "";
    $("progress").textContent = total
      ? `${saved} saved${accepted}, ${count("waiting")} waiting${pace}` : "";
    $("advice").textContent = round.advice ?? "";
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
        fresh.addEventListener("click", () => exclusively(() => go(item.id)));
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
    const key = what === "map" ? "map" : "equalized";
    look[key] = !look[key];
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
    equalize: () => toggle("equalized"),
    outline: () => { look.mask = (look.mask + 1) % 3; showMask(); },
    zoom_in: () => zoom(ZOOM_STEP),
    zoom_out: () => zoom(1 / ZOOM_STEP),
    fit: () => { resetContrast(); fit(); },
    keys: () => $("help").showModal(),
    skipped: () => decide("skipped"),
  };
  for (const what of Object.keys(TOOLS)) ACTIONS[what] = () => choose(what);
  for (const what of ["refine", "fill", "largest", "smooth", "proposal", "coarse"]) {
    ACTIONS[what] = () => correct(what);
  }
  for (const what of config.decisions) ACTIONS[what] = () => decide(what);

  for (const [what, action] of Object.entries(ACTIONS)) {
    $(what)?.addEventListener("click", () => {
      action();
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
    if (!event.repeat || config.repeats.includes(what)) ACTIONS[what]();
  });

  $("brush_px").addEventListener("input", showPointer);
  $("opacity").addEventListener("input", showMask);
  for (const slider of ["brightness", "contrast"]) $(slider).addEventListener("input", showContrast);
  $("guide").open = localStorage.guide !== "closed";
  $("guide").addEventListener("toggle", () => {
    localStorage.guide = $("guide").open ? "open" : "closed";
  });

  // ---------------------------------------------------------------- begin, wait, leave

  const begin = () => exclusively(async () => {
    const current = +sessionStorage.current;
    await ask();
    const isWaiting = round.items.some((item) => item.id === current && item.status === "waiting");
    if (isWaiting && (await show(current))) {
      report();
      loadAhead();
    } else await showNext();
    view.focus({ preventScroll: true });
  });

  // a page without a radiograph asks for one; others look whether the round is over
  setInterval(async () => {
    let state;
    const before = actions;
    try {
      state = await (await request("state", { page: name })).json();
    } catch {
      return; // the next key says so
    }
    if (busy || gesture || before !== actions) return;
    const isOver = state.round !== round.round;
    accept(state);
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
})();
