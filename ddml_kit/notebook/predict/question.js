// The face of a question: its text, a field, options or a curve to draw, and a button that commits.
// Python decides what an answer is and keeps it; this file shows it and sends what stands there.

const NS = "http://www.w3.org/2000/svg";

function put(node, attributes, children) {
  // A key pressed here is no shortcut of JupyterLab, which looks for this on the very element.
  if (["button", "input"].includes(node.localName) || "tabindex" in attributes) {
    node.setAttribute("data-lm-suppress-shortcuts", "true");
  }
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const element = (tag, attributes = {}, ...children) =>
  put(document.createElement(tag), attributes, children);
const drawn = (tag, attributes = {}, ...children) =>
  put(document.createElementNS(NS, tag), attributes, children);

// For ids that nothing else on the page has; each widget has an instance of this module of its own.
const unique = () => `ddml-${window.ddmlMade = (window.ddmlMade ?? 0) + 1}`;

// Enter is as good as the button; in JupyterLab a form does not see to that by itself.
function enter(event) {
  if (event.key !== "Enter") return;
  event.preventDefault();
  event.target.closest("form").requestSubmit();
}

// ---------------------------------------------------------------- kinds
// Each maker returns the node, what reads the answer that stands there, and what shows one.

function number(spec, id, edited) {
  const input = element("input", {
    type: "text", inputmode: spec.whole ? "numeric" : "decimal", autocomplete: "off", size: 9,
    "aria-labelledby": `${id}-text`, "aria-describedby": `${id}-range ${id}-note`, oninput: edited, onkeydown: enter,
  });
  const range = element("span", { id: `${id}-range`, class: "range" },
    spec.unit ? `${spec.unit}, ${spec.range}` : spec.range);
  return {
    node: element("div", { class: "number" }, input, range),
    read: () => input.value,
    show: (answer) => { input.value = answer ?? ""; },
    mark: (wrong) => input.setAttribute("aria-invalid", String(wrong)),
  };
}

function choice(spec, id, edited) {
  const inputs = spec.options.map(() => element("input", {
    type: "radio", name: id, onchange: edited, onkeydown: enter,
  }));
  const group = element("div", {
    class: "options", role: "radiogroup", "aria-labelledby": `${id}-text`, "aria-describedby": `${id}-note`,
  }, ...spec.options.map((option, k) => element("label", {}, inputs[k], element("span", {}, option))));
  return {
    node: group,
    read: () => spec.options[inputs.findIndex((input) => input.checked)] ?? null,
    show: (answer) => inputs.forEach((input, k) => { input.checked = spec.options[k] === answer; }),
    mark: () => {},
  };
}

// ---------------------------------------------------------------- a curve
const W = 600, H = 300, LEFT = 64, RIGHT = 24, TOP = 26, BOTTOM = 50;
const short = (v) => String(+v.toPrecision(3));

// The step of an arrow key: 1, 2 or 5 times a power of ten, about the fiftieth part of the range.
function keyStep(range) {
  const power = 10 ** Math.floor(Math.log10(range / 50));
  return power * [1, 2, 5, 10].find((digit) => digit * power >= (range / 50) * 0.75);
}

function scales({ x, low, high, log_x }) {
  const place = (v) => (log_x ? Math.log(v) : v);
  const [first, last] = [place(x[0]), place(x[x.length - 1])];
  return {
    px: (v) => LEFT + ((place(v) - first) / (last - first)) * (W - LEFT - RIGHT),
    py: (v) => TOP + ((high - v) / (high - low)) * (H - TOP - BOTTOM),
    height: (y) => high - ((y - TOP) / (H - TOP - BOTTOM)) * (high - low),
  };
}

function axes(spec, { px, py }) {
  const nodes = [];
  const say = (text, attributes) => nodes.push(drawn("text", attributes, text));
  for (let k = 0; k <= 4; k++) {
    const v = spec.low + ((spec.high - spec.low) * k) / 4;
    nodes.push(drawn("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: py(v), y2: py(v) }));
    say(short(v), { x: LEFT - 12, y: py(v) + 4, "text-anchor": "end" });
  }
  let free = -Infinity; // to the right of the last number
  for (const v of spec.x) {
    const half = 4 * short(v).length;
    if (px(v) - half < free + 4) continue;
    say(short(v), { x: px(v), y: H - BOTTOM + 22, "text-anchor": "middle" });
    free = px(v) + half;
  }
  const middle = (TOP + H - BOTTOM) / 2;
  say(spec.x_title, { class: "title", x: (LEFT + W - RIGHT) / 2, y: H - 6, "text-anchor": "middle" });
  say(spec.y_title, {
    class: "title", x: 16, y: middle, "text-anchor": "middle", transform: `rotate(-90 16 ${middle})`,
  });
  return drawn("g", { "aria-hidden": "true" }, ...nodes);
}

function curve(spec, id, edited) {
  const scale = scales(spec), { px, py } = scale;
  const step = keyStep(spec.high - spec.low);
  const unit = spec.unit ? ` ${spec.unit}` : "";
  let y, moved; // moved: it is an answer

  const line = drawn("polyline", { class: "line" });
  const value = drawn("text", { class: "value", "text-anchor": "middle", "aria-hidden": "true" });
  const handles = spec.x.map((v, k) => drawn("circle", {
    cx: px(v), r: 8, tabindex: 0, role: "slider", "aria-orientation": "vertical",
    "aria-label": `${spec.y_title}, ${spec.x_title} ${short(v)}`,
    "aria-valuemin": spec.low, "aria-valuemax": spec.high,
    onkeydown: (event) => key(event, k), onfocus: () => tell(k), onblur: () => value.replaceChildren(),
  }));
  const svg = drawn("svg", {
    viewBox: `0 0 ${W} ${H}`, width: W, role: "group",
    "aria-labelledby": `${id}-text`, "aria-describedby": `${id}-hint ${id}-note`,
    onpointerdown: press, onpointermove: drag,
  }, axes(spec, scale), line, ...handles, value);

  function draw() {
    svg.classList.toggle("moved", moved);
    line.setAttribute("points", spec.x.map((v, k) => `${px(v)},${py(y[k])}`).join(" "));
    handles.forEach((handle, k) => {
      handle.setAttribute("cy", py(y[k]));
      handle.setAttribute("aria-valuenow", short(y[k]));
      handle.setAttribute("aria-valuetext", short(y[k]) + unit);
    });
  }

  function tell(k) {
    value.setAttribute("x", px(spec.x[k]));
    value.setAttribute("y", py(y[k]) - 14);
    value.textContent = short(y[k]) + unit;
  }

  function set(k, height) {
    y[k] = Math.min(spec.high, Math.max(spec.low, +height.toPrecision(6)));
    moved = true;
    draw();
    tell(k);
    edited();
  }

  function key(event, k) {
    const by = {
      ArrowUp: step, ArrowRight: step, ArrowDown: -step, ArrowLeft: -step,
      PageUp: 5 * step, PageDown: -5 * step, Home: -Infinity, End: Infinity,
    }[event.key];
    enter(event);
    if (by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    set(k, Math.min(spec.high, Math.max(spec.low, (Math.round(y[k] / step) * step) + by)));
  }

  // One stroke can draw the whole curve: the point nearest to the pointer goes along with it.
  let stroke = null; // where the pointer was
  function at(event) {
    const box = svg.getBoundingClientRect();
    return [((event.clientX - box.left) * W) / box.width, ((event.clientY - box.top) * H) / box.height];
  }
  function press(event) {
    if (event.button) return;
    event.preventDefault();
    svg.setPointerCapture(event.pointerId);
    stroke = at(event);
    drag(event);
  }
  function drag(event) {
    if (!svg.hasPointerCapture(event.pointerId)) return;
    const [x0, y0] = stroke, [x1, y1] = (stroke = at(event));
    const far = (k) => Math.abs(px(spec.x[k]) - x1);
    const nearest = spec.x.reduce((best, _, k) => (far(k) < far(best) ? k : best), 0);
    spec.x.forEach((v, k) => { // those that a fast stroke has passed
      const share = (px(v) - x0) / (x1 - x0);
      if (k !== nearest && share > 0 && share < 1) set(k, scale.height(y0 + share * (y1 - y0)));
    });
    handles[nearest].focus();
    set(nearest, scale.height(y1));
  }

  const hint = element("p", { class: "hint", id: `${id}-hint` },
    "Drag the points, or go to one with Tab and move it with the arrow keys.");
  return {
    node: element("div", { class: "curve" }, svg, hint),
    read: () => (moved ? y : null),
    show: (answer) => {
      moved = Boolean(answer);
      y = answer ? [...answer] : spec.x.map(() => (spec.low + spec.high) / 2);
      draw();
    },
    mark: () => {},
  };
}

const makers = { number, choice, curve };

// ---------------------------------------------------------------- the whole

function render({ model, el }) {
  const spec = model.get("spec");
  const id = unique();
  let dirty = false; // the answer that stands there has not been sent

  const note = element("span", { class: "note", id: `${id}-note`, role: "status" });
  const control = makers[spec.kind](spec, id, () => {
    dirty = true;
    say("", false);
  });
  const commit = element("button", { type: "submit" }, "✓ Commit");

  function say(text, wrong) {
    note.textContent = text;
    note.classList.toggle("wrong", wrong);
    control.mark(wrong);
  }

  function send(event) {
    event.preventDefault();
    dirty = false;
    say("keeping …", false); // until Python, which may be busy with a cell, has taken notice
    model.send({ answer: control.read() });
  }

  function showAnswer() {
    if (!dirty) control.show(model.get("answer"));
  }

  function showNote() {
    const { text = "", wrong = false } = model.get("note");
    if (!dirty) say(text, wrong);
  }

  el.append(element("form", { class: `ddml-question ${spec.kind}`, novalidate: "", onsubmit: send },
    element("p", { class: "text" },
      element("span", { class: "chip" }, "Predict"), element("span", { id: `${id}-text` }, spec.text)),
    control.node,
    element("div", { class: "foot" }, commit, note)));

  model.on("change:answer", showAnswer);
  model.on("change:note", showNote);
  showAnswer();
  showNote();
  return () => {
    model.off("change:answer", showAnswer);
    model.off("change:note", showNote);
  };
}

export default { render };
