// The face of a live figure: knobs, answers, one plotly figure; after parts.js.
// One message is under way at a time; what has been moved meanwhile goes with the next.

function render({ model, el }) {
  const spec = model.get("spec");
  const id = unique();
  let settings = {};
  let sent = 0; // messages
  let moved = false; // since the last one
  const answered = () => (model.get("state").sent ?? 0) >= sent;

  function ask() {
    moved = true;
    if (answered()) send();
    else status.textContent = "waiting for Python, which may be busy with a cell …";
  }

  function send(more = {}) {
    moved = false;
    sent = Math.max(sent, model.get("state").sent ?? 0) + 1;
    model.send({ settings, sent, ...more });
  }

  const shows = {};
  const groups = new Map();
  spec.knobs.forEach((knob) => {
    const set = (value) => { settings = { ...settings, [knob.name]: value }; ask(); };
    const [nodes, show] = makers[knob.kind](knob, `${id}-${knob.name}`, set);
    shows[knob.name] = show;
    const row = element("div", { class: `row ${knob.kind}`, "data-knob": knob.name }, ...nodes);
    groups.set(knob.group, [...(groups.get(knob.group) ?? []), row]);
  });
  const fields = [...groups].map(([group, rows]) =>
    element("fieldset", {}, ...(group ? [element("legend", {}, group)] : []), ...rows));
  const presets = spec.presets.map((name) =>
    element("button", { onclick: () => send({ preset: name }) }, name));
  const tries = element("section", { "aria-label": "settings to try", hidden: !presets.length },
    element("h4", {}, "Try"), element("div", { class: "buttons wrap" }, ...presets));
  const status = element("div", { class: "status", role: "status" });
  const alert = element("div", { class: "alert", role: "alert", hidden: true });
  const side = element("div", { class: "side" }, ...fields, tries, status, alert);

  const answers = element("dl", { class: "answers", "aria-live": "polite" });
  const badge = element("span", { class: "badge" }, spec.badge);
  const holder = element("div", { class: "plot", role: "img" });
  const main = element("div", { class: "graphs" }, answers,
    element("div", { class: "bar" }, element("h4", {}, spec.title), badge), holder);
  badge.hidden = !spec.badge;

  el.append(element("div", { class: "ddml-dashboard live" },
    element("div", { class: "columns" }, side, main)));
  const figure = plot(holder, plotly(model.get("plotlyjs")));

  function showSettings() {
    if (moved) return; // the knobs have moved on
    settings = { ...model.get("settings").values };
    for (const [name, value] of Object.entries(settings)) shows[name](value);
  }

  function showState() {
    const state = model.get("state");
    answers.replaceChildren(...state.answers.map(([name, text]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, text))));
    alert.hidden = !state.alert;
    alert.replaceChildren(...(state.alert ? [element("p", {}, state.alert)] : []));
    if (answered()) {
      status.textContent = "";
      if (moved) send();
    }
  }

  const showFigure = () => figure.show(JSON.parse(model.get("figure")));
  const reactions = {
    "change:settings": showSettings,
    "change:state": showState,
    "change:figure": showFigure,
  };
  for (const [event, react] of Object.entries(reactions)) model.on(event, react);
  showSettings();
  showState();
  showFigure();
  return () => {
    for (const [event, react] of Object.entries(reactions)) model.off(event, react);
    figure.end();
  };
}

export default { render };
