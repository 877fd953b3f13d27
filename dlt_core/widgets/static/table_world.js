// Algorithm 1's agent, and a random one, in a world that is a table of losses. reward_lab.js shows what comes of it.

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
