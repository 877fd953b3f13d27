// What all widgets share: elements, colours (those of figures/style.py), numbers. Their own module follows this text.
const COLOURS = ["#0072B2", "#D55E00", "#2D704D", "#C276AC", "#8D540F", "#839163", "#0087E6", "#797979"];
const [BLUE, VERMILLION, GREEN, PINK, BROWN, SAGE, AZURE, GREY] = COLOURS;

function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "circle", "line", "path", "text", "polyline", "title", "polygon"];
  const made = svg.includes(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// Neighbours far apart, by the golden angle.
function hue(layer) {
  return Math.round((137.5 * layer) % 360);
}

function colour(layer, numLayers) {
  if (numLayers <= COLOURS.length) return COLOURS[layer];
  return `oklch(62% 0.12 ${hue(layer)})`;
}

// Black or white, whichever can be read better on a colour that `colour` gives.
function inkOn(layer, numLayers) {
  return numLayers <= COLOURS.length && [BLUE, GREEN, BROWN].includes(COLOURS[layer]) ? "#fff" : "#000";
}

// A colour of lines and areas made fit for words, which need more contrast with the page.
function readable(colour) {
  return `color-mix(in srgb, ${colour} 60%, var(--dlt-ink))`;
}

// Set several traits and tell the kernel, if there is one.
function change(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}

// Call draw(width) now and whenever the room for the widget changes. Returns how to stop.
function fitted(el, draw) {
  let last = 0;
  const look = () => {
    const width = Math.max(300, Math.min(860, Math.floor(el.clientWidth || 700)));
    if (width === last) return;
    last = width;
    draw(width);
  };
  look();
  const observer = new ResizeObserver(look);
  observer.observe(el);
  return () => observer.disconnect();
}

// The class, a name to find it by, and keys that are the widget's and not the notebook's.
function prepare(el, name) {
  el.setAttribute("data-dlt", name);
  el.classList.add("dlt-widget");
  el.setAttribute("data-lm-suppress-shortcuts", "true");
  el.addEventListener("keydown", (event) => event.stopPropagation());
}

// Words in a drawing.
function label(x, y, words, attributes = {}) {
  return element("text", { x, y, ...attributes }, words);
}

function signed(number, digits = 4) {
  return `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(digits)}`;
}

function thousands(number) {
  return Math.round(number).toLocaleString("en-US");
}

function inBytes(number) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (number >= 1000 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? number : number.toPrecision(3)} ${units[unit]}`;
}
