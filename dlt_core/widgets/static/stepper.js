// A frame is [decision, line of the algorithm]; what a later line finds out is not shown before.
const SPEEDS = { slow: 1200, normal: 500, fast: 120 };

function render({ model, el }) {
  prepare(el, "stepper");
  const run = model.get("run");
  const frames = model.get("frames");
  const last = frames.length - 1;
  let timer = null;
  let width = 700;

  const button = (name, label, text, onclick) =>
    element("button", { "data-control": name, "aria-label": label, title: label, onclick }, text);
  const play = button("play", "play", "▶ Play", () => (timer === null ? start() : stop()));
  const speed = element("select", { "data-control": "speed", "aria-label": "speed" });
  for (const name of Object.keys(SPEEDS)) speed.append(element("option", { value: name }, name));
  speed.value = "normal";
  speed.addEventListener("change", () => { if (timer !== null) { stop(); start(); } });
  const slider = element("input", {
    type: "range", min: 0, max: last, step: 1, "data-control": "position", "aria-label": "place in the run",
    class: "dlt-wide", oninput: () => go(Number(slider.value)),
  });
  const place = element("output", { "data-output": "place", "aria-live": "off" });
  const listing = element("ol", { class: "dlt-listing", "aria-label": "Algorithm 1" });
  for (const text of model.get("lines")) listing.append(element("li", {}, text));
  const facts = element("div");
  const maps = element("div");
  const values = element("div");
  const curve = element("div");
  el.append(
    element("div", { class: "dlt-controls" },
      button("first", "to the start", "Start", () => go(0)),
      button("back", "a line back", "◂ Back", () => go(model.get("position") - 1)),
      play,
      button("step", "a line on", "Step ▸", () => go(model.get("position") + 1)),
      button("decision", "to the next decision", "Next decision", nextDecision),
      element("label", {}, "speed ", speed)),
    element("div", { class: "dlt-controls" }, slider, place),
    element("div", { class: "dlt-columns" }, listing, facts),
    element("div", { class: "dlt-columns" }, maps, values),
    curve,
  );

  function go(position) {
    change(model, { position: Math.max(0, Math.min(last, position)) });
  }

  function nextDecision() {
    const [decision, line] = frames[model.get("position")];
    const next = frames.findIndex(([d, l]) => l === 2 && (line === 1 ? d === 0 : d === decision + 1));
    go(next < 0 ? last : next);
  }

  function start() {
    if (model.get("position") === last) go(0);
    timer = setInterval(() => {
      if (model.get("position") === last) stop();
      else go(model.get("position") + 1);
    }, SPEEDS[speed.value]);
    play.textContent = "⏸ Pause";
    play.setAttribute("aria-label", "pause");
    play.title = "pause";
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ Play";
    play.setAttribute("aria-label", "play");
    play.title = "play";
  }

  function number(value, digits = 4) {
    if (value === null || value === undefined) return "not recorded";
    return Math.abs(value) >= 1000 ? value.toFixed(1) : String(Number(value.toPrecision(digits)));
  }

  function drawFacts(now, line) {
    const meaning =
      now.action === now.layer
        ? "weights of its own"
        : `tie to layer ${now.action}` + (now.before[now.action] !== now.action ? `, that is to ${now.before[now.action]}` : "");
    const learns = now.q_values !== null;
    const error =
      now.error !== null ? number(now.error)
        : !learns ? "none: this agent does not learn" : `± ${number(now.td_loss === null ? null : Math.sqrt(now.td_loss))}`;
    const rows = [
      ["turn", "turn", 2, now.turn + 1, String(now.turn + 1)],
      ["layer i", "layer", 2, now.layer, String(now.layer)],
      ["state s", "state", 1, null, `[${now.before.join(", ")}]`],
      ["ε", "epsilon", 3, now.epsilon, number(now.epsilon, 3)],
      ["the choice was", "explored", 3, now.explored, now.explored ? "random" : "greedy"],
      ["action a", "action", 3, now.action, `${now.action}: ${meaning}`],
      ["training loss", "train_loss", 5, now.train_loss, number(now.train_loss)],
      ["reward r", "reward", 6, now.reward, number(now.reward)],
      ["γ max Q(s′, a′)", "bootstrap", 7, now.bootstrap, learns ? number(now.bootstrap) : "none"],
      ["target", "target", 7, now.target, learns ? number(now.target) : "none"],
      ["target − Q(s, a)", "error", 7, now.error, error],
    ];
    facts.replaceChildren(element("table", { class: "dlt-facts" }, element("tbody", {}, ...rows.map(
      ([name, id, from, value, shown]) => {
        const known = line >= from;
        return element("tr", { class: line === from ? "dlt-new" : null },
          element("th", { scope: "row" }, name),
          element("td", { "data-output": id, "data-value": known && value !== null ? String(value) : null },
            known ? shown : element("span", { class: "dlt-faint", "aria-label": "not yet" }, "·")));
      }))));
  }

  function drawMaps(now, line) {
    const n = run.n_layer;
    const room = width > 640 ? width / 2 - 10 : width;
    const perRow = Math.min(n, 24);
    const cell = Math.max(13, Math.min(34, (room - 64) / perRow));
    const rows = Math.ceil(n / perRow);
    const high = rows * cell + 26;
    const svg = element("svg", {
      width: 64 + perRow * cell, height: 2 * high, role: "img",
      "aria-label": `map before: ${now.before.join(", ")}` + (line >= 4 ? `; after: ${now.after.join(", ")}` : ""),
    });
    [["before", now.before], ["after", line >= 4 ? now.after : null]].forEach(([name, map], row) => {
      svg.append(element("text", { x: 0, y: row * high + cell / 2 + 18 }, name));
      for (let i = 0; i < n; i += 1) {
        const [x, y] = [64 + (i % perRow) * cell, row * high + 14 + Math.floor(i / perRow) * cell];
        const source = map ? map[i] : null;
        const moved = map && row === 1 && map[i] !== now.before[i];
        svg.append(element("rect", {
          x: x + 1, y: y + 1, width: cell - 2, height: cell - 2, rx: 3, fill: map ? colour(source, n) : "none",
          stroke: i === now.layer && line >= 2 ? "var(--dlt-ink)" : map ? "none" : "var(--dlt-line)",
          "stroke-width": i === now.layer && line >= 2 ? 2.5 : 1,
          "data-map": name, "data-layer": i, "data-source": source,
        }));
        if (map && cell >= 13) {
          svg.append(element("text", {
            x: x + cell / 2, y: y + cell / 2 + 4, "text-anchor": "middle", class: "dlt-in",
            style: `fill: ${inkOn(source, n)}; font-size: ${Math.min(13, cell * 0.55)}px; font-weight: ${moved ? 700 : 400}`,
          }, String(source)));
        }
        if (i === now.layer && line >= 2) {
          svg.append(element("text", { x: x + cell / 2, y: y - 2, "text-anchor": "middle", class: "dlt-small" },
            row === 0 ? "▼" : moved ? "changed" : map ? "▼" : ""));
        }
      }
    });
    maps.replaceChildren(element("div", { class: "dlt-title" }, "The map"), svg);
  }

  function drawValues(now, line) {
    const title = element("div", { class: "dlt-title" }, line < 2 ? "Q-values" : `Q(s, a) of layer ${now.layer}`);
    if (line < 2 || now.q_values === null) {
      values.replaceChildren(title, element("p", { class: "dlt-faint" },
        line < 2 ? "Before the first decision." : "This agent has no Q-values."));
      return;
    }
    const q = now.q_values.map((value) => value ?? 0);
    const room = (width > 640 ? width / 2 - 10 : width) - 8;
    const step = Math.min(16 * 4, room / q.length);
    const high = 110;
    const [low, top] = [Math.min(0, ...q), Math.max(0, ...q)];
    const y = (value) => 18 + ((top - value) / (top - low || 1)) * (high - 36);
    const svg = element("svg", {
      width: Math.max(140, q.length * step), height: high + 44, role: "img",
      "aria-label": `Q-values ${q.map((value, a) => `action ${a}: ${number(value)}`).join(", ")}; greedy ${now.greedy}` +
        (line >= 3 ? `, chosen ${now.action}` : ""),
    });
    q.forEach((value, a) => {
      const chosen = line >= 3 && a === now.action;
      const x = a * step + step / 2;
      svg.append(
        element("rect", {
          x: x - step * 0.36, y: Math.min(y(0), y(value)), width: step * 0.72, height: Math.max(1, Math.abs(y(value) - y(0))),
          fill: colour(now.before[a] === a || a === now.layer ? a : now.before[a], run.n_layer),
          stroke: chosen ? "var(--dlt-ink)" : "none", "stroke-width": 3, "data-q": value, "data-action": a,
        }, element("title", {}, `Q(s, ${a}) = ${number(value)}`)),
      );
      if (step >= 40) {
        svg.append(element("text", { x, y: value < 0 ? y(value) + 13 : y(value) - 4, "text-anchor": "middle", class: "dlt-small" },
          number(value, 3)));
      }
      if (step >= 16 || a % 4 === 0) {
        svg.append(element("text", { x, y: high + 12, "text-anchor": "middle" }, step >= 40 ? `a = ${a}` : String(a)));
      }
      [a === now.greedy ? (step >= 40 ? "greedy" : "★") : "", chosen ? (step >= 40 ? "chosen" : "▲") : ""]
        .filter(Boolean).forEach((mark, row) => svg.append(element("text", {
          x, y: high + 26 + 13 * row, "text-anchor": "middle", class: "dlt-small", style: "fill: var(--dlt-ink)",
        }, mark)));
    });
    svg.append(element("line", { x1: 0, x2: q.length * step, y1: y(0), y2: y(0), stroke: "var(--dlt-ink)" }));
    const note = step >= 40 ? null : element("div", { class: "dlt-faint" }, "★ greedy, ▲ chosen");
    values.replaceChildren(...[title, svg, note].filter(Boolean));
  }

  function drawCurve(decision, line) {
    const all = run.decisions;
    const high = 150;
    const left = 40;
    const end = all[all.length - 1].step;
    const losses = [...all.map((d) => d.train_loss), ...run.validation.map(([, loss]) => loss)].filter((v) => v !== null);
    const [low, top] = [Math.min(...losses), Math.max(...losses)];
    const x = (step) => left + (step / end) * (width - left - 12);
    const y = (loss) => 8 + ((top - loss) / (top - low || 1)) * (high - 36);
    const shown = all.slice(0, line >= 5 ? decision + 1 : decision).filter((d) => d.train_loss !== null);
    const reached = line >= 5 ? all[decision].step : decision > 0 ? all[decision - 1].step : 0;
    const points = run.validation.filter(([step, loss]) => loss !== null &&
      (step < reached || (step === reached && (line >= 9 || line < 5))));
    const svg = element("svg", {
      width, height: high, role: "img", "data-points": shown.length, "data-validations": points.length,
      "aria-label": `learning curve after ${reached} steps` + (shown.length ? `: training loss ${number(shown.at(-1).train_loss)}` : ""),
    });
    for (const value of [top, (top + low) / 2, low]) {
      svg.append(
        element("line", { x1: left, x2: width - 12, y1: y(value), y2: y(value), stroke: "var(--dlt-line)" }),
        element("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end", class: "dlt-small" }, value.toFixed(1)),
      );
    }
    for (const part of [0, 0.25, 0.5, 0.75, 1]) {
      svg.append(element("text", {
        x: x(end * part), y: high - 12, "text-anchor": part === 1 ? "end" : "middle", class: "dlt-small",
      }, String(Math.round(end * part))));
    }
    svg.append(
      element("polyline", {
        points: shown.map((d) => `${x(d.step)},${y(d.train_loss)}`).join(" "), fill: "none", stroke: "var(--dlt-curve)",
        "stroke-width": 2,
      }),
      ...points.map(([step, loss]) => element("rect", {
        x: x(step) - 4, y: y(loss) - 4, width: 8, height: 8, fill: VERMILLION, stroke: "var(--dlt-ink)",
        transform: `rotate(45 ${x(step)} ${y(loss)})`,
      })),
      element("line", { x1: x(reached), x2: x(reached), y1: 4, y2: high - 26, stroke: "var(--dlt-ink)", "stroke-dasharray": "3 3" }),
    );
    curve.replaceChildren(
      element("div", { class: "dlt-title" }, "Loss (nats per token) over steps up to here: line training, ◆ validation"), svg);
  }

  function draw() {
    const position = model.get("position");
    const [decision, line] = frames[position];
    const now = run.decisions[decision];
    [...listing.children].forEach((item, index) => {
      item.classList.toggle("dlt-lit", index + 1 === line);
      if (index + 1 === line) item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    });
    slider.value = position;
    slider.setAttribute("aria-valuetext", `decision ${decision + 1}, line ${line}`);
    place.textContent = line === 1 ? "start" : `decision ${decision + 1} of ${run.decisions.length}, line ${line}`;
    el.dataset.decision = decision;
    el.dataset.line = line;
    drawFacts(now, line);
    drawMaps(now, line);
    drawValues(now, line);
    drawCurve(decision, line);
  }

  model.on("change:position", draw);
  const unfit = fitted(el, (room) => {
    width = room;
    draw();
  });
  return () => {
    stop();
    unfit();
  };
}

export default { render };
