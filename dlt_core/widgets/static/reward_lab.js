// The reward lab: sliders for the agent and its world, see table_world.js. Everything is computed here, no kernel.

const REWARD_NAMES = {
  neg_perplexity: "minus perplexity (the paper)", neg_loss: "minus loss",
  neg_perplexity_clipped: "clipped to [−10, 10] (released code)", log_improvement: "improvement of the loss",
};
const SLIDERS = [
  ["gamma", "discount γ", 0, 0.99, 0.01], ["learning_rate", "learning rate of Q", -4, -1, 0.25, "log"],
  ["epsilon", "ε at the start", 0, 1, 0.05], ["epsilon_decay", "ε decay, each turn", 0.9, 1, 0.005],
  ["epsilon_min", "ε at least", 0, 0.5, 0.01], ["noise", "noise of a reward (nats)", 0, 0.5, 0.01],
  ["trend", "trend (nats per step)", 0, 0.0001, 0.000005], ["steps_per_action", "k, steps per decision", 1, 50, 1],
  ["decisions", "decisions", 300, 6000, 300], ["seeds", "seeds", 2, 20, 1],
];
const LAB_STYLE = `
.dlt-lab { --dlt-mark: var(--jp-brand-color1, var(--dlt-blue)); }
.dlt-lab .controls { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 4px 14px; }
.dlt-lab label { display: block; font-size: 12.5px; }
.dlt-lab label output { float: right; font-variant-numeric: tabular-nums; }
.dlt-widget.dlt-lab input[type=range], .dlt-widget.dlt-lab select { width: 100%; margin: 0; box-sizing: border-box; height: 22px; }
.dlt-lab .presets { display: flex; flex-wrap: wrap; gap: 8px; margin: 0 0 8px; }
.dlt-lab .verdict { margin: 8px 0; padding: 6px 10px; border-left: 4px solid var(--dlt-mark); min-height: 4.2em; }
.dlt-lab [role=option] { cursor: pointer; }
.dlt-lab .chosen { fill: none; stroke: var(--dlt-ink); stroke-width: 1.5; }
.dlt-lab [role=option]:focus-visible .chosen { stroke-dasharray: 3 2; stroke: var(--dlt-mark); stroke-width: 2.5; }`;

const LINE = "var(--dlt-line)";
const short = (x) => (x === 0 ? "0" : Math.abs(x) < 0.001 ? x.toExponential(0).replace("-", "−") : String(+x.toPrecision(3)));

function tieMapPicture(sources, x, y, size) {
  return sources.flatMap((source, i) => [
    element("rect", { x: x + i * size, y, width: size - 2, height: size - 2, fill: colour(source, sources.length), rx: 2 }),
    label(x + i * size + size / 2 - 1, y + size - 5, String(source),
      { class: "number", "text-anchor": "middle", style: `fill: ${inkOn(source, sources.length)}` })]);
}

// Maps from best to worst with the share of the last quarter that each agent spent there; a row chooses the state below.
function drawShares(world, result, chosen, choose) {
  const order = world.losses.map((_, m) => m).sort((a, b) => world.losses[a] - world.losses[b]);
  const [size, rowHeight, top, width] = [16, 20, 42, 410];
  const [left, right] = [world.numLayers * size + 72, width - 46];
  const widest = Math.max(...result.shares.map(([share, half]) => Math.min(1, share + half)), ...result.chance);
  const at = (share) => left + (Math.min(share, widest) / widest) * (right - left);
  const svg = element("svg", { viewBox: `0 0 ${width} ${top + order.length * rowHeight + 22}`, role: "listbox",
    "aria-label": "Maps from best to worst; share of the last quarter of the decisions" },
  label(4, 14, "Where the agents are in the last quarter", { class: "head" }),
  label(4, 33, "map", { class: "faint" }), label(left - 8, 33, "loss", { class: "faint", "text-anchor": "end" }),
  label(left, 33, "bar: Q-agent, 95 % interval · ◇ random", { class: "faint" }));
  order.forEach((m, row) => {
    const y = top + row * rowHeight;
    const [share, half] = result.shares[m];
    const note = `map ${world.maps[m].join(" ")}, loss ${world.losses[m].toFixed(3)}, Q-agent ${(100 * share).toFixed(1)} %, ` +
      `random ${(100 * result.chance[m]).toFixed(1)} %`;
    const x = at(result.chance[m]);
    const pick = (event) => {
      if (event.type === "click" || event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(m); }
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step && order[row + step] !== undefined) { event.preventDefault(); choose(order[row + step]); }
    };
    svg.append(element("g", { role: "option", "aria-selected": String(m === chosen), tabindex: m === chosen ? 0 : -1,
      "aria-label": note, "data-map": world.maps[m].join(), "data-share": share, onclick: pick, onkeydown: pick },
    element("title", {}, note), element("rect", { x: 0, y: y - 2, width, height: rowHeight, fill: "transparent" }),
    ...tieMapPicture(world.maps[m], 6, y, size),
    label(left - 8, y + 12, world.losses[m].toFixed(3), { "text-anchor": "end" }),
    element("rect", { x: left, y: y + 2, width: Math.max(0, at(share) - left), height: 11, fill: "var(--dlt-mark)", opacity: 0.75 }),
    element("line", { x1: at(Math.max(0, share - half)), x2: at(share + half), y1: y + 7.5, y2: y + 7.5,
      stroke: "var(--dlt-ink)", "stroke-width": 1.5 }),
    element("polygon", { points: `${x - 4},${y + 7.5} ${x},${y + 3} ${x + 4},${y + 7.5} ${x},${y + 12}`,
      fill: "var(--dlt-back)", stroke: "var(--dlt-ink)", "stroke-width": 1.3 }),
    label(width - 4, y + 12, `${(100 * share).toFixed(0)} %`, { "text-anchor": "end" }),
    m === chosen ? element("rect", { x: 1.5, y: y - 2.5, width: width - 3, height: rowHeight - 1, rx: 3, class: "chosen" }) : null));
  });
  svg.append(label(4, top + order.length * rowHeight + 14, "top: best map · bottom: worst · choose a row to see Q there",
    { class: "faint" }));
  return svg;
}

function drawCurve(result, settings) {
  const [width, height, left, top, bottom] = [410, 300, 58, 42, 262];
  const extent = Math.max(1e-9, ...result.curve.map(([, m, half]) => Math.abs(m) + half));
  const x = (n) => left + (n / settings.decisions) * (width - left - 10);
  const y = (v) => (top + bottom) / 2 - (v / extent) * ((bottom - top) / 2);
  const band = [...result.curve.map(([n, m, half]) => [n, m + half]),
    ...result.curve.map(([n, m, half]) => [n, m - half]).reverse()].map(([n, v]) => `${x(n)},${y(v)}`).join(" ");
  const line = result.curve.map(([n, m]) => `${x(n)},${y(m)}`).join(" ");
  return element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `Regret minus the random agent's over the decisions; at the end ${signed(result.difference, 3)} nats` },
  label(4, 14, "Regret minus the random agent's (nats per token)", { class: "head" }),
  label(4, 33, "line: mean over seeds · band: 95 % interval", { class: "faint" }),
  ...[1, 0.5, 0, -0.5, -1].flatMap((f) => [
    element("line", { x1: left, x2: width - 10, y1: y(f * extent), y2: y(f * extent), stroke: f ? LINE : "var(--dlt-ink)",
      "stroke-width": f ? 0.7 : 1.2 }),
    label(left - 6, y(f * extent) + 4, f ? signed(f * extent, 3) : "0", { "text-anchor": "end" })]),
  element("polygon", { points: band, fill: "var(--dlt-mark)", opacity: 0.25 }),
  element("polyline", { points: line, fill: "none", stroke: "var(--dlt-mark)", "stroke-width": 2.2 }),
  label(left + 6, top + 14, "↑ worse than chance", { class: "faint" }),
  label(left + 6, bottom - 6, "↓ better than chance", { class: "faint" }),
  ...[0, 0.5, 1].map((f) => label(x(f * settings.decisions), bottom + 16, String(Math.round(f * settings.decisions)),
    { "text-anchor": f === 1 ? "end" : f ? "middle" : "start" })),
  label((left + width) / 2, bottom + 32, "decision", { "text-anchor": "middle" }));
}

// Q-values of one state, believed and true, each less the mean of its layer: what decides is the order.
function drawBeliefs(world, result, settings, chosen) {
  const layers = Array.from({ length: world.numLayers - 1 }, (_, i) => i + 1);
  const truth = trueValues(world, settings);
  const relative = (values) => values.map((value) => value - mean(values));
  const scale = (of) => Math.max(1e-12, ...layers.flatMap((i) => relative(of[chosen][i]).map(Math.abs)));
  const columns = [["Q believes", result.q, scale(result.q)], ["the truth", truth, scale(truth)]];
  const rows = layers.reduce((sum, i) => sum + i + 1, 0);
  const [width, top, rowHeight] = [840, 62, 19];
  const height = top + rows * rowHeight + (layers.length - 1) * 8 + 8;
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": "Q-values of the chosen map, believed and true, less the mean of each layer" },
  label(4, 14, "What Q believes in this state, and the truth", { class: "head" }),
  ...tieMapPicture(world.maps[chosen], 310, 1, 16),
  label(4, 34, "Each less the mean of its layer, in units of its reward; mean over seeds. ★ the largest: what the agent would do.",
    { class: "faint" }));
  columns.forEach(([name], c) => svg.append(label(c ? 660 : 340, 54, name, { "text-anchor": "middle", class: "head" })));
  let y = top;
  for (const i of layers) {
    svg.append(label(4, y + 13, `layer ${i}`));
    for (let a = 0; a <= i; a++) {
      svg.append(label(66, y + 13, a === i ? "be independent" : `tie to layer ${a}`));
      columns.forEach(([, of, largest], c) => {
        const values = relative(of[chosen][i]);
        const [zero, length] = [c ? 660 : 340, 85 * (values[a] / largest)];
        const top1 = of[chosen][i].every((value) => value <= of[chosen][i][a]);
        svg.append(element("rect", { x: Math.min(zero, zero + length), y: y + 3, width: Math.abs(length), height: 12,
          fill: c ? SAGE : "var(--dlt-mark)", opacity: 0.75, "data-layer": i, "data-action": a,
          "data-kind": c ? "true" : "believed", "data-value": of[chosen][i][a] }),
        element("line", { x1: zero, x2: zero, y1: y, y2: y + rowHeight - 1, stroke: "var(--dlt-ink)" }),
        label(zero + 155, y + 13, signed(values[a]) + (top1 ? " ★" : " \u2002"), { "text-anchor": "end" }));
      });
      y += rowHeight;
    }
    y += 8;
  }
  return svg;
}

function verdictText(world, result, settings) {
  const { difference, half } = result;
  const word = Math.abs(difference) <= half ? "cannot be told apart from" : difference < 0 ? "better than" : "worse than";
  const percent = (share) => `${(100 * share).toFixed(0)} %`;
  const [best, worst] = [world.best, Math.max(...world.losses)].map((loss) => world.losses.indexOf(loss));
  const at = (m) => `${percent(result.shares[m][0])} (random agent: ${percent(result.chance[m])})`;
  const all = (of) => mean(of.flatMap((layers) => layers.slice(1).flatMap((values) => Math.max(...values))));
  const level = settings.reward === "log_improvement" ? "" :
    ` Q has come to ${short(all(result.q))} on average; the truth is ${short(all(trueValues(world, settings)))}.`;
  return `The Q-agent is ${word} the random agent: in the last quarter its regret is ${signed(difference)} ± ${half.toFixed(4)} ` +
    `nats (${result.ours.toFixed(4)} against ${result.theirs.toFixed(4)}; 95 % interval, ${settings.seeds} seeds). ` +
    `At the best map it is ${at(best)} of the time, at the worst, ${world.maps[worst].join(" ")}, ${at(worst)}; ` +
    `most often at ${world.maps[result.most].join(" ")}, of rank ${result.rank} of ${world.maps.length}.${level}`;
}

function render({ model, el }) {
  prepare(el, "reward_lab");
  el.classList.add("dlt-lab");
  const paper = { ...model.get("settings") };
  let [settings, result, run] = [{ ...paper }, null, 0];
  const pairs = () => (settings.table === "turned" ? turnRound(model.get("losses")) : model.get("losses"));
  let world = makeWorld(pairs());
  let chosen = world.start;
  const verdict = element("div", { class: "verdict", role: "status", "aria-live": "polite", "data-role": "verdict" });
  const [panels, beliefs] = [element("div", { class: "panels" }), element("div", {})];
  const inputs = {};

  function draw(focus = false) {
    if (!result) return;
    const shares = drawShares(world, result, chosen, (m) => { chosen = m; draw(true); });
    panels.replaceChildren(shares, drawCurve(result, settings));
    beliefs.replaceChildren(drawBeliefs(world, result, settings, chosen));
    if (focus) shares.querySelector("[aria-selected=true]").focus();
  }
  async function compute() {
    const mine = ++run;
    const started = performance.now();
    const [runs, twins, table] = [[], [], pairs()];
    el.dataset.busy = "true";
    for (let seed = 0; seed < settings.seeds; seed++) {
      runs.push(simulate(table, settings, seed));
      twins.push(simulate(table, settings, seed, "random"));
      if (!result) verdict.textContent = `Seed ${seed + 1} of ${settings.seeds} …`;
      await new Promise((go) => setTimeout(go, 0));
      if (mine !== run) return;
    }
    world = makeWorld(table);
    result = summarise(table, settings, runs, twins);
    verdict.textContent = verdictText(world, result, settings);
    draw();
    el.dataset.milliseconds = Math.round(performance.now() - started);
    delete el.dataset.busy;
    const { difference, half, ours, theirs } = result;
    model.set("summary", { difference, half, regret: ours, chance: theirs, most_visited: world.maps[result.most],
      share: result.shares[result.most][0], settings: { ...settings } });
    model.save_changes();
  }
  let waiting = null;
  function changed(changes) {
    settings = { ...settings, ...changes };
    show();
    model.set("settings", settings);
    model.save_changes();
    clearTimeout(waiting);
    waiting = setTimeout(compute, 120);
  }
  function show() {
    for (const [name, { input, output, log }] of Object.entries(inputs)) {
      input.value = log ? Math.log10(settings[name]) : settings[name];
      if (output) output.textContent = short(settings[name]);
    }
  }
  const controls = element("div", { class: "controls" });
  const menu = (name, label, options) => {
    const input = element("select", { "data-setting": name, onchange: () => changed({ [name]: input.value }) },
      ...Object.entries(options).map(([value, words]) => element("option", { value }, words)));
    inputs[name] = { input };
    controls.append(element("label", {}, label, input));
  };
  menu("reward", "reward", REWARD_NAMES);
  menu("table", "table of losses", { given: "as it is", turned: "turned round: the best map is the worst" });
  menu("input", "the network reads", { plain: "the numbers s (the paper)", mirrored: "L − 1 − s" });
  menu("initial", "Q starts", { optimistic: "optimistic: near 0 (paper)", neutral: "neutral: at an average map" });
  for (const [name, label, min, max, step, log] of SLIDERS) {
    const output = element("output", {});
    const input = element("input", { type: "range", min, max, step, "data-setting": name, "aria-label": label,
      oninput: () => changed({ [name]: log ? 10 ** Number(input.value) : Number(input.value) }) });
    inputs[name] = { input, output, log };
    controls.append(element("label", {}, label, output, input));
  }
  const presets = element("div", { class: "presets", role: "group", "aria-label": "Worlds to start from" },
    ...[["the paper's reward", { reward: "neg_perplexity" }], ["an improvement", { reward: "log_improvement" }],
      ["neutral start", { initial: "neutral" }],
      ["table turned round", { table: "turned" }],
      ["mirrored input", { input: "mirrored" }]].map(([words, changes]) =>
      element("button", { type: "button", "data-preset": Object.values(changes)[0],
        onclick: () => changed({ ...paper, reward: "neg_perplexity", initial: "optimistic", table: "given", input: "plain",
          ...changes }) }, words)));
  el.append(element("style", {}, LAB_STYLE), presets, controls, verdict, panels, beliefs);
  show();
  compute();
  const outside = () => {
    const theirs = model.get("settings");
    if (Object.keys(theirs).some((name) => theirs[name] !== settings[name])) { settings = { ...settings, ...theirs }; show(); compute(); }
  };
  model.on("change:settings", outside);
  return () => { run += 1; clearTimeout(waiting); };
}

export default { render, simulate };
