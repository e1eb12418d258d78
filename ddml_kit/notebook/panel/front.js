// The face of a dashboard: knobs, buttons, answers, runs, and two plotly figures; after parts.js.
// Python owns the state; this file shows it and tells Python what was pressed.

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
