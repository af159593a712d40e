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

  // the size lies in a panel that opens with a button of its own
  const resize = (factor) => {
    let slider = document.querySelector("#canvas input[type=range]");
    const panel = canvasButton("Brush Size") || canvasButton("Eraser Size");
    if (!slider && panel) panel.click();
    requestAnimationFrame(() => {
      slider = document.querySelector("#canvas input[type=range]");
      if (!slider) return;
      const size = Math.max(1, Math.min(+slider.max, Math.round(slider.value * factor)));
      slider.value = size === +slider.value ? size + (factor > 1 ? 1 : -1) : size;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      slider.dispatchEvent(new Event("change", { bubbles: true }));
    });
  };

  const tool = (label) => canvasButton(label)?.click();

  const actions = {
    undo: () => within("Undo", "take_back"),
    redo: () => within("Redo", "do_again"),
    brush: () => tool("Brush"),
    eraser: () => tool("Erase"),
    smaller: () => resize(1 / 1.3),
    larger: () => resize(1.3),
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
