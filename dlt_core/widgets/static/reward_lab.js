// The reward lab: Algorithm 1's agent in a world that is a table of losses. Everything is computed here, no kernel.

const REWARDS = {
  neg_perplexity: (loss) => -Math.exp(loss),
  neg_loss: (loss) => -loss,
  neg_perplexity_clipped: (loss) => Math.min(10, Math.max(-10, -Math.exp(loss))),
  log_improvement: (loss, baseline) => baseline - loss,
};
const BASELINE_RATE = 0.1;
const HIDDEN = 128;
const WEIGHT_DECAY = 0.01;
// Student's t, 97.5 %, for 1 to 19 degrees of freedom
const STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145,
  2.131, 2.12, 2.11, 2.101, 2.093];

// Random numbers with a seed (mulberry32), and normal ones by Box and Muller.
function generator(seed) {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return { explore: uniform, choice: uniform, weight: uniform, noise: normal };
}

// The world as a table: for each map, layer and action the map that the paper's transition leads to.
function makeWorld(pairs) {
  const maps = pairs.map(([sources]) => sources);
  const index = new Map(maps.map((sources, m) => [sources.join(), m]));
  const numLayers = maps[0].length;
  const next = maps.map((sources) => sources.map((_, layer) => Array.from({ length: layer + 1 }, (_, action) => {
    const root = action === layer ? layer : sources[action];
    const after = sources.map((source, i) => (i === layer || source === layer ? root : source));
    return index.get(after.join());
  })));
  const losses = pairs.map(([, loss]) => loss);
  return { maps, losses, next, numLayers, best: Math.min(...losses), start: index.get(maps[0].map(() => 0).join()) };
}

// The same maps with the order of their losses turned round: what was best is worst.
function turnRound(pairs) {
  const losses = pairs.map(([, loss]) => loss);
  const ends = Math.min(...losses) + Math.max(...losses);
  return pairs.map(([sources, loss]) => [sources, ends - loss]);
}

// The Q-network of the paper: Linear - ReLU - Linear on the raw state, and one AdamW step for each decision.
function makeNetwork(numLayers, draws, given) {
  const numOutputs = (numLayers * (numLayers + 1)) / 2;
  const [atB1, atW2] = [HIDDEN * numLayers, HIDDEN * (numLayers + 1)];
  const atB2 = atW2 + numOutputs * HIDDEN;
  const size = atB2 + numOutputs;
  const weights = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    const bound = 1 / Math.sqrt(i < atW2 ? numLayers : HIDDEN);
    weights[i] = given ? given[i] : bound * (2 * draws.weight() - 1);
  }
  const [first, second, gradient] = [new Float64Array(size), new Float64Array(size), new Float64Array(size)];
  const hidden = new Float64Array(HIDDEN);
  let step = 0;

  function run(sources) {
    for (let h = 0; h < HIDDEN; h++) {
      let sum = weights[atB1 + h];
      for (let i = 0; i < numLayers; i++) sum += weights[h * numLayers + i] * sources[i];
      hidden[h] = sum > 0 ? sum : 0;
    }
  }
  function output(o) {
    let sum = weights[atB2 + o];
    for (let h = 0; h < HIDDEN; h++) sum += weights[atW2 + o * HIDDEN + h] * hidden[h];
    return sum;
  }
  function values(sources, layer) {
    run(sources);
    const start = (layer * (layer + 1)) / 2;
    return Array.from({ length: layer + 1 }, (_, action) => output(start + action));
  }
  function learn(sources, layer, action, target, rate) {
    run(sources);
    const o = (layer * (layer + 1)) / 2 + action;
    const error = output(o) - target;
    const slope = 2 * error;
    gradient.fill(0);
    gradient[atB2 + o] = slope;
    for (let h = 0; h < HIDDEN; h++) {
      if (hidden[h] === 0) continue;
      gradient[atW2 + o * HIDDEN + h] = slope * hidden[h];
      const back = slope * weights[atW2 + o * HIDDEN + h];
      gradient[atB1 + h] = back;
      for (let i = 0; i < numLayers; i++) gradient[h * numLayers + i] = back * sources[i];
    }
    step += 1;
    const size1 = rate / (1 - 0.9 ** step);
    const root2 = Math.sqrt(1 - 0.999 ** step);
    const keep = 1 - rate * WEIGHT_DECAY;
    for (let i = 0; i < size; i++) {
      const g = gradient[i];
      first[i] += 0.1 * (g - first[i]);
      second[i] = 0.999 * second[i] + 0.001 * g * g;
      weights[i] = weights[i] * keep - (size1 * first[i]) / (Math.sqrt(second[i]) / root2 + 1e-8);
    }
    return error * error;
  }
  return { values, learn };
}

// What training takes off every loss until decision n: evenly, k steps for each decision, at most 90 % of the least loss.
function fallen(world, settings, n) {
  return Math.min(settings.trend * settings.steps_per_action * n, 0.9 * world.best);
}

// The mean reward of all maps for ever: where "neutral" Q-values start. Optimistic ones start near 0, as the paper's do.
function startLevel(world, settings) {
  if (settings.initial !== "neutral" || settings.reward === "log_improvement") return 0;
  const rewards = world.losses.map((loss) => REWARDS[settings.reward](loss, 0));
  return rewards.reduce((a, b) => a + b) / rewards.length / (1 - settings.gamma);
}

// One run. agent: "q" or "random". given: {weights, explore, choice, noise}, lists to use instead of the seed's own draws.
function simulate(pairs, settings, seed, agent = "q", given = null) {
  const world = makeWorld(pairs);
  const own = generator(2 * seed + (agent === "q" ? 0 : 1));
  const draw = (name, n) => (given && given[name] ? given[name][n] : own[name]());
  const network = agent === "q" ? makeNetwork(world.numLayers, own, given && given.weights) : null;
  const level = startLevel(world, settings);
  // what the network reads of each map: its numbers, as in the paper, or mirrored, so that other maps are the small ones
  const read = world.maps.map((sources) =>
    settings.input === "mirrored" ? sources.map((source) => world.numLayers - 1 - source) : sources);
  let [map, layer, epsilon, baseline] = [world.start, 1, settings.epsilon, null];
  const visited = new Int32Array(settings.decisions);
  const [actions, rewards, believed] = [[], [], []];
  for (let n = 0; n < settings.decisions; n++) {
    const state = read[map];
    const values = network && (given || n % 10 === 0) ? network.values(state, layer) : null;
    let action;
    if (!network || draw("explore", n) < epsilon) action = Math.floor(draw("choice", n) * (layer + 1));
    else {
      const seen = values || network.values(state, layer);
      action = 0;
      for (let a = 1; a <= layer; a++) if (seen[a] > seen[action]) action = a;
    }
    const after = world.next[map][layer][action];
    const noise = settings.noise ? settings.noise * draw("noise", n) : 0;
    const loss = world.losses[after] - fallen(world, settings, n) + noise;
    if (baseline === null) baseline = loss;
    const reward = REWARDS[settings.reward](loss, baseline);
    baseline += BASELINE_RATE * (loss - baseline);
    if (network) {
      const best = Math.max(...network.values(read[after], layer)) + level;
      network.learn(state, layer, action, reward + settings.gamma * best - level, settings.learning_rate);
    }
    visited[n] = after;
    if (given) {
      actions.push(action);
      rewards.push(reward);
      believed.push(values && values.map((value) => value + level));
    }
    map = after;
    layer += 1;
    if (layer === world.numLayers) {
      layer = 1;
      epsilon = Math.max(settings.epsilon_min, epsilon * settings.epsilon_decay);
    }
  }
  const q = network && read.map((state) => state.map((_, i) => network.values(state, i).map((v) => v + level)));
  return { visited, actions, rewards, believed, q };
}

// The truth that Q is to find: Q = r + gamma max Q' over the same layer's actions, in the world without noise and trend.
// A layer that is asked again and again goes to the best map that it can reach, and stays.
function trueValues(world, settings) {
  const reward = world.losses.map((loss) => REWARDS[settings.reward](loss, 0));
  return world.maps.map((_, map) => world.maps[map].map((_, layer) => world.next[map][layer].map((after) => {
    const best = Math.max(...world.next[after][layer].map((m) => reward[m]));
    return reward[after] + (settings.gamma / (1 - settings.gamma)) * best;
  })));
}

function mean(values) { return values.reduce((a, b) => a + b, 0) / values.length; }

function interval(values) {
  const centre = mean(values);
  const variance = values.reduce((sum, v) => sum + (v - centre) ** 2, 0) / (values.length - 1);
  return [centre, STUDENT[values.length - 2] * Math.sqrt(variance / values.length)];
}

// What the seeds' runs say together. twins: the random agent's runs, seed by seed.
function summarise(pairs, settings, runs, twins) {
  const world = makeWorld(pairs);
  const regret = world.losses.map((loss) => loss - world.best);
  const late = Math.floor((3 * settings.decisions) / 4);
  const lateRegret = (run) => mean(Array.from(run.visited.subarray(late), (m) => regret[m]));
  const share = (run, m) => run.visited.subarray(late).filter((v) => v === m).length / (settings.decisions - late);
  const [ours, theirs] = [runs.map(lateRegret), twins.map(lateRegret)];
  const [difference, half] = interval(ours.map((value, s) => value - theirs[s]));
  const shares = world.maps.map((_, m) => interval(runs.map((run) => share(run, m))));
  const chance = world.maps.map((_, m) => mean(twins.map((run) => share(run, m))));
  const blocks = 24;
  const curve = Array.from({ length: blocks }, (_, b) => {
    const [from, to] = [b, b + 1].map((x) => Math.floor((x * settings.decisions) / blocks));
    const of = (run) => mean(Array.from(run.visited.subarray(from, to), (m) => regret[m]));
    return [(from + to) / 2, ...interval(runs.map((run, s) => of(run) - of(twins[s])))];
  });
  const q = world.maps.map((sources, m) => sources.map((_, i) => sources.slice(0, i + 1).map(
    (_, a) => mean(runs.map((run) => run.q[m][i][a])))));
  const most = shares.reduce((top, [value], m) => (value > shares[top][0] ? m : top), 0);
  const rank = 1 + world.losses.filter((loss) => loss < world.losses[most]).length;
  return { difference, half, ours: mean(ours), theirs: mean(theirs), shares, chance, curve, q, most, rank };
}

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
    label(x + i * size + size / 2 - 1, y + size - 5, String(source), { class: "number", "text-anchor": "middle" })]);
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
  label(width - 12, top + 14, "worse than chance ↑", { "text-anchor": "end", class: "faint" }),
  label(width - 12, bottom - 6, "better than chance ↓", { "text-anchor": "end", class: "faint" }),
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
          fill: c ? "#009E73" : "var(--dlt-mark)", opacity: 0.75, "data-layer": i, "data-action": a,
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
  menu("initial", "Q starts", { optimistic: "near 0 (the paper): optimistic", neutral: "at an average map's worth: neutral" });
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
