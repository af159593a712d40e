// A key for every button; undo and redo first within the canvas, then over the tools.
(() => {
  const canvasButton = (label) =>
    document.querySelector(`#canvas button[aria-label="${label}"]`);

  const press = (id) => {
    const place = document.getElementById(id);
    const button = place && (place.matches("button") ? place : place.querySelector("button, input"));
    if (button) button.click();
  };

  const within = (label, otherwise) => {
    const button = canvasButton(label);
    if (button && !button.disabled) button.click();
    else press(otherwise);
  };

  // What the person chose, kept from canvas to canvas: each starts with a brush of the
  // size that its class brush-<px> names. Sizes are kept as multiples of that.
  const chosen = { tool: "Brush", Brush: 1, Erase: 1 };
  const slider = () => document.querySelector("#canvas input[type=range]");
  const standard = () =>
    +(document.getElementById("canvas")?.className.match(/brush-(\d+)/)?.[1] ?? 10);
  const tool = (label) => canvasButton(label)?.click();

  // the slider is in a panel that opens with a button of its own
  const size = (change) => {
    if (!slider()) (canvasButton("Brush Size") || canvasButton("Eraser Size"))?.click();
    setTimeout(() => {
      const place = slider();
      if (!place) return;
      const before = +place.value;
      place.value = Math.max(1, Math.min(+place.max, Math.round(change(before))));
      place.dispatchEvent(new Event("input", { bubbles: true }));
    }, 50);
  };

  document.addEventListener("click", (event) => {
    const label = event.target.closest?.("#canvas button")?.getAttribute("aria-label");
    if (label === "Brush" || label === "Erase") chosen.tool = label;
  }, true);
  document.addEventListener("input", (event) => {
    if (event.target === slider()) chosen[chosen.tool] = slider().value / standard();
  }, true);

  let settled = null;
  setInterval(() => {
    const canvas = document.querySelector("#canvas canvas");
    const ready = canvasButton("Brush")?.classList.contains("highlight");
    if (!canvas || canvas === settled || !ready) return;
    settled = canvas;
    if (chosen.tool === "Erase") tool("Erase");
    const times = chosen[chosen.tool];
    if (times !== 1) size(() => times * standard());
  }, 300);

  const actions = {
    undo: () => within("Undo", "take_back"),
    redo: () => within("Redo", "do_again"),
    brush: () => tool("Brush"),
    eraser: () => tool("Erase"),
    smaller: () => size((now) => Math.min(now - 1, now / 1.3)),
    larger: () => size((now) => Math.max(now + 1, now * 1.3)),
    zoom_in: () => tool("Zoom in"),
    zoom_out: () => tool("Zoom out"),
  };
  window.annotator = actions;

  const keys = KEYS;

  document.addEventListener(
    "keydown",
    (event) => {
      const typing = event.target.matches?.("textarea, input[type=text], input[type=password], input[type=number]");
      if (typing || event.altKey) return;
      let key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      if (event.ctrlKey || event.metaKey) {
        if (key !== "z" && key !== "y") return;
        if (key === "z" && event.shiftKey) key = "y";
      }
      const action = keys[key];
      if (!action) return;
      // the canvas has keys of its own; one press is one action, however long
      event.preventDefault();
      event.stopImmediatePropagation();
      const repeats = ["smaller", "larger", "zoom_in", "zoom_out"].includes(action);
      if (event.repeat && !repeats) return;
      if (actions[action]) actions[action]();
      else press(action);
    },
    true,
  );
})();
