// What the faces of dashboards share: knobs, small parts, and plotly figures.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  // A key pressed on a knob is no shortcut of JupyterLab, which looks for this on the very element.
  if (["button", "input", "select", "summary"].includes(tag)) {
    node.setAttribute("data-lm-suppress-shortcuts", "true");
  }
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// For ids that nothing else on the page has; each widget has an instance of this module of its own.
const unique = () => `ddml-${window.ddmlMade = (window.ddmlMade ?? 0) + 1}`;

// ---------------------------------------------------------------- knobs
// Each maker returns [nodes for a row, function that shows a value].

function slider(knob, id, set) {
  const output = element("output", { for: id });
  const input = element("input", {
    type: "range", id, min: 0, max: knob.grid.length - 1, step: 1,
    oninput: () => {
      const k = Number(input.value);
      say(knob.texts[k]);
      set(knob.grid[k]);
    },
  });
  const say = (text) => {
    output.textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  const show = (value) => {
    let nearest = 0;
    knob.grid.forEach((x, k) => {
      if (Math.abs(x - value) < Math.abs(knob.grid[nearest] - value)) nearest = k;
    });
    input.value = nearest;
    say(knob.grid[nearest] === value ? knob.texts[nearest] : String(value));
  };
  return [[element("label", { for: id }, knob.label), input, output], show];
}

function choice(knob, id, set) {
  const widest = Math.max(...knob.options.map((option) => String(option).length));
  if (widest * knob.options.length > 18) { // more does not fit side by side
    const select = element(
      "select", { id, onchange: () => set(knob.options[select.selectedIndex]) },
      ...knob.options.map((option) => element("option", {}, String(option))),
    );
    const show = (value) => { select.selectedIndex = knob.options.indexOf(value); };
    return [[element("label", { for: id }, knob.label), select], show];
  }
  const [group, show] = segments(knob.label, id, knob.options, set);
  return [[element("span", { id: `${id}-label`, class: "label" }, knob.label), group], show];
}

// Options side by side, of which one is chosen.
function segments(label, id, options, set) {
  const inputs = options.map((option) =>
    element("input", { type: "radio", name: id, onchange: () => set(option) }));
  const group = element(
    "div", { class: "segments", role: "radiogroup", "aria-label": label },
    ...options.map((option, k) =>
      element("label", {}, inputs[k], element("span", {}, String(option)))),
  );
  return [group, (value) => inputs.forEach((input, k) => { input.checked = options[k] === value; })];
}

function toggle(knob, id, set) {
  const input = element("input", { type: "checkbox", id, onchange: () => set(input.checked) });
  const show = (value) => { input.checked = value; };
  return [[element("label", { for: id }, knob.label), element("span", {}, input)], show];
}

const makers = { slider, choice, toggle };

// ---------------------------------------------------------------- small parts

function swatch(line) {
  const dashes = { solid: "", dash: "6 3", dot: "2 3", dashdot: "6 3 2 3" };
  const holder = element("span", { class: "swatch", "aria-hidden": "true" });
  holder.innerHTML = `<svg width="22" height="10"><line x1="1" y1="5" x2="21" y2="5"
    stroke="${line.color}" stroke-width="3" stroke-dasharray="${dashes[line.dash]}"/></svg>`;
  return holder;
}

function download(name, text) {
  element("a", {
    href: "data:text/csv;charset=utf-8," + encodeURIComponent(text), download: name,
  }).click();
}

// Let an axis reach these values as well.
function widen(axis, values) {
  const log = axis.type === "log";
  const seen = values.filter((x) => x !== null && (!log || x > 0)).map((x) => (log ? Math.log10(x) : x));
  if (seen.length) {
    const [low, high] = axis.range ?? [seen[0], seen[0]];
    axis.range = [Math.min(low, ...seen), Math.max(high, ...seen) || 1];
  }
}

// plotly.js, from the text that Python sends along: once a page, and not in this module, which has
// to be there at once (anywidget gives a module two seconds, and plotly.js is five megabytes).
function plotly(text) {
  window.ddmlPlotly ??= new Promise((resolve, reject) => {
    const src = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    document.head.append(element("script", { src, onload: resolve, onerror: reject }));
  });
  return window.ddmlPlotly;
}

// The same function, called later and less often: at most a third of the time, so that a slow page
// still answers.
function paced(draw) {
  let waiting = false;
  let free = 0;
  return () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      const began = performance.now();
      draw();
      free = performance.now() + 2 * (performance.now() - began);
    }, Math.max(0, free - performance.now()));
  };
}

// A plotly figure that keeps the width of its place.
function plot(holder, ready) {
  let figure = null;
  const draw = () => {
    if (figure && holder.clientWidth && window.Plotly) {
      const config = { ...figure.config, responsive: false }; // the observer sees to that
      Plotly.react(holder, figure.data, { ...figure.layout, autosize: true }, config);
    }
  };
  const observer = new ResizeObserver(draw);
  observer.observe(holder);
  ready.then(draw);
  return {
    show(next) {
      figure = next;
      holder.hidden = !next;
      if (next) holder.setAttribute("aria-label", next.words);
      if (next) holder.style.height = `${next.layout.height}px`;
      draw();
    },
    end() {
      observer.disconnect();
      window.Plotly?.purge(holder);
    },
  };
}
