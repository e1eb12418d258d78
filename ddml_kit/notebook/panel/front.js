// The face of a dashboard: knobs, buttons, answers, runs, and two plotly figures.
// Python owns the state; this file shows it and tells Python what was pressed.

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

// ---------------------------------------------------------------- the whole

function render({ model, el }) {
  const spec = model.get("spec");
  const id = unique();
  let settings = {};
  const press = (name, more = {}) => model.send({ press: name, settings, ...more });

  const shows = {};
  const groups = new Map();
  spec.knobs.forEach((knob) => {
    const set = (value) => { settings = { ...settings, [knob.name]: value }; };
    const [nodes, show] = makers[knob.kind](knob, `${id}-${knob.name}`, set);
    shows[knob.name] = show;
    const row = element("div", { class: `row ${knob.kind}`, "data-knob": knob.name }, ...nodes);
    groups.set(knob.group, [...(groups.get(knob.group) ?? []), row]);
  });
  const fields = [...groups].map(([group, rows]) =>
    element("fieldset", {}, ...(group ? [element("legend", {}, group)] : []), ...rows));

  const run = element("button", { class: "main", onclick: start }, "▶ Run");
  const stop = element("button", { onclick: () => press("stop") }, "■ Stop");
  const clear = element("button", { onclick: () => press("clear") }, "Clear");
  const file = element("input", {
    type: "file", accept: ".npz", hidden: true, "aria-hidden": "true", onchange: send,
  });
  const open = element("button", {
    class: "small", onclick: () => file.click(), title: "Put a saved run, an .npz file, beside these",
  }, "Open …");
  const progress = element("progress", { max: 1, value: 0, "aria-label": "progress of the run" });
  const status = element("div", { class: "status", role: "status" });
  const alert = element("div", { class: "alert", role: "alert", hidden: true });
  const presets = spec.presets.map((name) =>
    element("button", { onclick: () => { showSettings(); wait(); press("preset", { name }); } }, name));
  const tries = element("section", { "aria-label": "settings to try", hidden: !presets.length },
    element("h4", {}, "Try"), element("div", { class: "buttons wrap" }, ...presets));
  const list = element("ul");
  const csv = element("button", {
    class: "small", onclick: () => press("csv"), title: "Save the curves of all runs as CSV",
  }, "CSV");
  const runs = element("section", { "aria-label": "runs kept" },
    element("h4", {}, "Runs", element("span", { class: "buttons" }, open, csv)), file, list);
  const side = element("div", { class: "side" },
    ...fields,
    element("div", { class: "controls" },
      element("div", { class: "buttons" }, run, stop, clear), progress, status, alert),
    tries, runs);

  const answers = element("dl", { class: "answers", "aria-live": "polite" });
  const badge = element("span", { class: "badge", hidden: true });
  const dotted = element("span", { class: "dotted", hidden: true });
  const [over, showOver] = segments(
    "axis of the curves", `${id}-over`, ["seconds", "steps"], (axis) => press("over", { axis }));
  const curveHolder = element("div", { class: "plot", role: "img" });
  const caption = element("div", { class: "caption" });
  const timelineHolder = element("div", { class: "plot", role: "img", hidden: true });
  const main = element("div", { class: "graphs" },
    answers,
    element("div", { class: "bar" }, element("h4", {}, spec.value), badge, dotted, over),
    curveHolder, caption, timelineHolder);

  el.append(element("div", { class: "ddml-dashboard" },
    element("div", { class: "columns" }, side, main)));

  const ready = plotly(model.get("plotlyjs"));
  const curve = plot(curveHolder, ready);
  const timeline = plot(timelineHolder, ready);

  function start() {
    // What Python will say of these settings is then nothing new, and leaves the knobs alone, which
    // may have been moved again by then.
    model.set("settings", { values: settings, turn: model.get("settings").turn });
    wait();
    press("run");
  }

  async function send() {
    const [chosen] = file.files;
    if (!chosen) return;
    const { name, size } = chosen;
    file.value = ""; // or the same file could not be chosen again
    const content = size <= spec.largest ? [await chosen.arrayBuffer()] : [];
    if (content.length) wait();
    model.send({ press: "open", name, size }, undefined, content);
  }

  function wait() { // until Python, which may be busy with a cell, has taken notice
    [run, open, ...presets].forEach((button) => { button.disabled = true; });
    status.textContent = "starting …";
  }

  function showSettings() {
    settings = { ...model.get("settings").values };
    for (const [name, value] of Object.entries(settings)) shows[name](value);
  }

  // Parts are made anew only when they change, or a button would vanish under the pointer.
  const last = {};
  function changed(part, value) {
    const text = JSON.stringify(value);
    const differs = last[part] !== text;
    last[part] = text;
    return differs;
  }

  function showState() {
    const state = model.get("state");
    run.disabled = state.busy;
    stop.disabled = !state.busy;
    clear.disabled = state.busy || !state.runs.length;
    [open, ...presets].forEach((button) => { button.disabled = state.busy; });
    csv.disabled = !state.runs.length;
    if (state.busy && state.progress === null) progress.removeAttribute("value");
    else progress.value = state.progress ?? 0;
    status.textContent = state.status;
    badge.textContent = state.badge;
    badge.hidden = !state.badge;
    showOver(state.over);
    dotted.hidden = !state.dotted;
    if (state.dotted) dotted.replaceChildren(swatch(state.dotted.line), state.dotted.label);
    // What changes many times a second is not read out; what a run came to is.
    for (const place of [answers, status]) place.setAttribute("aria-live", state.busy ? "off" : "polite");
    if (changed("alert", state.alert)) showAlert(state.alert);
    if (changed("answers", state.answers)) {
      answers.replaceChildren(...state.answers.map(([name, text]) =>
        element("div", {}, element("dt", {}, name), element("dd", {}, text))));
    }
    if (changed("runs", [state.runs, state.shown])) showRuns(state.runs, state.shown);
    const live = spec.live && state.busy ? model.get("live").line : null;
    const shown = state.runs.find((kept) => kept.number === state.shown);
    const titled = live ? { line: live, label: "the run under way" } : shown;
    if (changed("titled", titled ?? null)) {
      caption.replaceChildren(...(titled
        ? [swatch(titled.line), element("h4", {}, `${spec.pictured}: ${titled.label}`)] : []));
    }
  }

  function showAlert(message) {
    alert.hidden = !message;
    if (!message) return;
    alert.replaceChildren(element("p", {}, message.sentence));
    if (message.details) {
      alert.append(element("details", {},
        element("summary", {}, "where it happened"), element("pre", {}, message.details)));
    }
  }

  function showRuns(all, number) {
    const grown = all.length > list.children.length;
    const refocus = focused();
    list.replaceChildren(...all.map((kept) => element("li", {
      class: kept.drawn ? "" : "elsewhere", "data-number": kept.number,
    },
      element("button", {
        class: "kept", "aria-pressed": String(kept.number === number),
        onclick: () => press("show", { number: kept.number }),
        title: kept.drawn ? null : "ran by another clock: its curve is drawn over steps",
      }, swatch(kept.line), element("span", {},
        element("span", { class: "answer" }, kept.answer),
        element("span", { class: "name" }, kept.label))),
      element("button", {
        class: "remove", "aria-label": `remove ${kept.label}`,
        onclick: () => press("remove", { number: kept.number }),
      }, "×"))));
    refocus();
    if (grown) list.scrollTop = list.scrollHeight;
  }

  // What gives the focus back to the button of the list that has it now, or had, if it is gone, to
  // its neighbour's; the list is made anew meanwhile.
  function focused() {
    const button = list.getRootNode().activeElement;
    const item = list.contains(button) ? button.closest("li") : null;
    if (!item) return () => {};
    const selector = `button.${button.classList[0]}`, number = item.dataset.number;
    const place = [...list.children].indexOf(item);
    return () => {
      const same = list.querySelector(`li[data-number="${number}"]`);
      const next = same ?? list.children[Math.min(place, list.children.length - 1)];
      (next?.querySelector(selector) ?? run).focus();
    };
  }

  const showCurve = paced(() => {
    const figure = JSON.parse(model.get("curve"));
    const live = model.get("live");
    if (live.x) {
      figure.data.push({ mode: "lines", line: { ...live.line, width: 3.5 }, x: live.x, y: live.y });
      widen(figure.layout.xaxis, live.x);
      widen(figure.layout.yaxis, live.y);
    }
    curve.show(figure);
  });

  function showTimeline() {
    timeline.show(JSON.parse(model.get("timeline")));
  }

  const reactions = {
    "change:settings": showSettings,
    "change:state": showState,
    "change:curve": showCurve,
    "change:live": showCurve,
    "change:timeline": showTimeline,
    "msg:custom": (message) => { if (message.csv !== undefined) download("runs.csv", message.csv); },
  };
  for (const [event, react] of Object.entries(reactions)) model.on(event, react);
  showSettings();
  showState();
  showCurve();
  showTimeline();
  return () => {
    for (const [event, react] of Object.entries(reactions)) model.off(event, react);
    curve.end();
    timeline.end();
  };
}

export default { render };
