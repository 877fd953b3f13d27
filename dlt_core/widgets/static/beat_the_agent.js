// Beat the agent: four players, four small models. The models are trained by the kernel; the page asks and shows.

const PLAYERS = [["var(--dlt-blue)", "", "●"], [VERMILLION, "7 3", "■"], [GREEN, "2 3", "▲"], [GREY, "10 3 2 3", "◆"]];
const GAME_STYLE = `
.dlt-game .turn { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; min-height: 34px; }
.dlt-game .turn button { padding: 5px 12px; }
.dlt-game .turn button:disabled { opacity: 0.5; cursor: wait; }
.dlt-game .message { margin: 6px 0; padding: 4px 10px; border-left: 4px solid var(--dlt-mark); min-height: 1.4em; }
.dlt-game .foot { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 6px; }`;

// The validation losses over the decisions, a line for each player, named at its end.
function drawRace(game) {
  const [width, height, left, right, top, bottom] = [450, 290, 40, 160, 42, 250];
  const from = game.decision > 4 ? 3 : 0; // the fall of the first decisions, alike for all, would hide the rest
  const all = game.players.flatMap((player) => player.losses.slice(from));
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const pad = 0.06 * (high - low) + 0.01;
  const x = (n) => left + ((n - from) / (game.total - from)) * (width - left - right);
  const y = (loss) => bottom - ((loss - low + pad) / (high - low + 2 * pad)) * (bottom - top);
  const ends = game.players.map((player, p) => ({ p, name: player.name, loss: player.losses.at(-1) }))
    .sort((a, b) => b.loss - a.loss);
  let last = -Infinity;
  for (const end of ends) { end.y = Math.max(y(end.loss), last + 15); last = end.y; }
  const over = Math.max(0, last - bottom);
  return element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label":
    `Validation losses after ${game.decision} of ${game.total} decisions: ` +
    [...ends].reverse().map(({ name, loss }) => `${name} ${loss.toFixed(3)}`).join(", ") },
  label(4, 14, "Validation loss (nats per token)", { class: "head" }),
  label(4, 32, from ? `lower is better; all began at ${game.players[0].losses[0].toFixed(2)}` : "lower is better; all began alike", { class: "faint" }),
  ...[0, 0.5, 1].flatMap((f) => { const loss = low + f * (high - low); return [
    element("line", { x1: left, x2: width - right, y1: y(loss), y2: y(loss), stroke: "var(--dlt-line)", "stroke-width": 0.8 }),
    label(left - 6, y(loss) + 4, loss.toFixed(2), { "text-anchor": "end" })]; }),
  ...game.players.map((player, p) => element("polyline", { "data-player": player.name, fill: "none", stroke: PLAYERS[p][0],
    "stroke-width": p ? 1.8 : 3, "stroke-dasharray": PLAYERS[p][1],
    points: player.losses.map((loss, n) => `${x(n)},${y(loss)}`).slice(from).join(" ") })),
  ...ends.flatMap(({ p, name, loss, y: at }) => [
    label(x(game.decision), y(loss) + 4, PLAYERS[p][2], { "text-anchor": "middle", style: `fill: ${PLAYERS[p][0]}` }),
    label(width - right + 10, at + 4 - over, `${PLAYERS[p][2]} ${name} ${loss.toFixed(3)}`,
      { style: `fill: ${readable(PLAYERS[p][0])}; ${p ? "" : "font-weight: 600"}` })]),
  ...[from, game.total].map((n) => label(x(n), bottom + 16, String(n), { "text-anchor": n > from ? "end" : "start" })),
  label((left + width - right) / 2, bottom + 32, "decision", { "text-anchor": "middle" }));
}

// Each player's ties now: boxes of one colour and number share weights; the layer at hand is framed.
function drawMaps(game) {
  const size = Math.min(40, 250 / game.n_layer);
  const [width, rowHeight, left] = [390, 58, 126];
  const svg = element("svg", { viewBox: `0 0 ${width} ${40 + game.players.length * rowHeight}`, role: "img", "aria-label":
    game.players.map(({ name, tie_map }) => `${name}: ${tie_map.join(" ")}`).join("; ") },
  label(4, 14, "Who ties what", { class: "head" }),
  ...game.players[0].tie_map.map((_, i) => label(left + i * size + size / 2, 32, `${i}`,
    { "text-anchor": "middle", class: "faint" })), label(4, 32, "layer", { class: "faint" }));
  game.players.forEach(({ name, tie_map }, p) => {
    const y = 42 + p * rowHeight;
    svg.append(label(4, y + size / 2 + 4, `${PLAYERS[p][2]} ${name}`, { style: `fill: ${readable(PLAYERS[p][0])}` }));
    tie_map.forEach((source, i) => svg.append(
      element("rect", { x: left + i * size + 1, y, width: size - 4, height: size - 4, rx: 4, fill: colour(source, game.n_layer) }),
      label(left + i * size + size / 2 - 1, y + size / 2 + 2, String(source),
        { "text-anchor": "middle", class: "number", style: `fill: ${inkOn(source, tie_map.length)}` })));
    if (p === 0 && !game.over) svg.append(element("rect", { x: left + game.layer * size - 2, y: y - 3, width: size + 2,
      height: size + 2, rx: 5, fill: "none", stroke: "var(--dlt-ink)", "stroke-width": 2.5, "stroke-dasharray": "4 2" }));
  });
  return svg;
}

// What the same game gave to random plays, a dot each, with everybody's own end marked.
function drawChance(game) {
  const { chance, losses, chance_mean: centre, chance_deviation: deviation } = game.score;
  const [width, left, right] = [840, 16, 824];
  const all = [...chance, ...Object.values(losses)];
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const x = (loss) => left + ((loss - low) / (high - low || 1)) * (right - left);
  const spread = deviation === null ? "" : `, standard deviation ${deviation.toFixed(3)}`;
  const marks = game.players.map(({ name }, p) => ({ p, name, at: x(losses[name]) })).sort((a, b) => a.at - b.at);
  const bottom = 74 + 18 * marks.length;
  return element("svg", { viewBox: `0 0 ${width} ${bottom + 34}`, role: "img", "data-role": "chance",
    "aria-label": `Losses of ${chance.length} random plays: mean ${centre.toFixed(3)}${spread}; yours ${losses.you.toFixed(3)}` },
  label(4, 14, `What chance alone gives: ${chance.length} random plays of this game (|)`, { class: "head" }),
  label(4, 32, `mean ${centre.toFixed(3)}${spread}; left is better; you beat ${game.score.beaten} of ${chance.length}`,
    { class: "faint" }),
  element("line", { x1: left, x2: right, y1: bottom, y2: bottom, stroke: "var(--dlt-line)" }),
  ...chance.map((loss) => element("line", { x1: x(loss), x2: x(loss), y1: bottom - 12, y2: bottom, stroke: "var(--dlt-ink)",
    "stroke-width": 1.6 })),
  ...marks.flatMap(({ p, name, at }, row) => [
    element("line", { x1: at, x2: at, y1: 56 + 18 * row, y2: bottom, stroke: PLAYERS[p][0], "stroke-width": p ? 1.4 : 2.6,
      "stroke-dasharray": PLAYERS[p][1] }),
    label(at + (at < width - 160 ? 5 : -5), 58 + 18 * row, `${PLAYERS[p][2]} ${name} ${losses[name].toFixed(3)}`,
      { "text-anchor": at < width - 160 ? "start" : "end", style: `fill: ${readable(PLAYERS[p][0])}` })]),
  ...[low, high].map((loss) => label(x(loss), bottom + 16, loss.toFixed(3), { "text-anchor": loss === low ? "start" : "end" })),
  label(width / 2, bottom + 28, "validation loss at the end (nats per token)", { "text-anchor": "middle" }));
}

function render({ model, el }) {
  prepare(el, "beat_the_agent");
  el.classList.add("dlt-game");
  const alive = typeof model.send === "function"; // a page without a kernel has none
  const [turn, foot] = [element("div", { class: "turn", role: "group" }), element("div", { class: "foot" })];
  const message = element("div", { class: "message", role: "status", "aria-live": "polite", "data-role": "message" });
  const [panels, chance] = [element("div", { class: "panels" }), element("div", {})];
  let [asked, slow] = [null, null];

  function ask(kind, action = null) {
    if (!alive || asked !== null) return;
    asked = Math.max(model.get("answered"), (model.get("request") || {}).number || 0) + 1;
    model.set("request", { number: asked, kind, action, decision: model.get("game_state").decision });
    model.save_changes();
    message.textContent = kind === "chance" ? "The random agent plays …" : "Four models are being trained …";
    slow = setTimeout(() => { message.textContent += " (no answer yet; if the kernel was restarted, run the cell again)"; }, 15000);
    draw();
  }
  function draw() {
    const game = model.get("game_state");
    const held = turn.contains(document.activeElement) || document.activeElement === el;
    const button = (words, about, onclick, more = {}) =>
      element("button", { type: "button", "aria-label": about, disabled: !alive || asked !== null, onclick, ...more }, words);
    turn.setAttribute("aria-label", `Decision ${game.decision + 1} of ${game.total}`);
    turn.replaceChildren(...(game.over
      ? [button("what does chance alone give?", "measure random plays", () => ask("chance"), { "data-action": "chance" })]
      : [element("span", {}, `Decision ${game.decision + 1} of ${game.total}: layer ${game.layer} shall`),
        ...Array.from({ length: game.layer + 1 }, (_, action) => button(
          action === game.layer ? `${action}: be independent` : `${action}: tie to layer ${action}`,
          action === game.layer ? `make layer ${action} independent` : `tie layer ${game.layer} to layer ${action}`,
          () => ask("play", action), { "data-action": action }))]));
    // who plays by keys keeps the focus: on the widget while it waits, then on the first action
    if (held) (asked === null ? turn.querySelector("button") : el).focus({ preventScroll: true });
    foot.replaceChildren(button("new game", "a new game with the next seed", () => ask("new"), { "data-action": "new" }),
      element("span", {}, `seed ${game.seed}; ${game.steps} steps of training for each decision; keys 0 to ${game.n_layer - 1} play, too`));
    panels.replaceChildren(drawRace(game), drawMaps(game));
    chance.replaceChildren(...(game.score.chance && game.over ? [drawChance(game)] : []));
    el.dataset.decision = game.decision;
  }
  function answered() {
    if (asked !== null && model.get("answered") >= asked) {
      asked = null;
      clearTimeout(slow);
    }
    if (asked === null) message.textContent = alive ? model.get("message")
      : "This game trains models: it needs a kernel. Open the notebook to play; here you see how a game stands.";
    draw();
  }
  el.tabIndex = -1;
  el.addEventListener("keydown", (event) => {
    const game = model.get("game_state");
    if (game.over || event.ctrlKey || event.metaKey || event.altKey || !/^[0-9]$/.test(event.key)) return;
    event.preventDefault();
    if (Number(event.key) <= game.layer) ask("play", Number(event.key));
  });
  el.append(element("style", {}, GAME_STYLE), turn, message, panels, chance, foot);
  model.on("change:game_state", answered);
  model.on("change:message", answered);
  model.on("change:answered", answered);
  answered();
}

export default { render };
