// The page to draw on. What is drawn goes to the server that this page came from, and what the
// network makes of it is shown. No library, and no request to another host. In this order:
//
//   the picture    what is drawn, as strokes; and what it was before
//   the field      strokes as pixels: on the screen, and for the network
//   the pen        how strokes come in: mouse, finger, pen, keys
//   asking         one question at a time, always about the newest picture
//   showing        the answer, all outputs, the layers

"use strict";

const element = (id) => document.getElementById(id);
const field = element("field");
const sheet = document.createElement("canvas"); // what is sent, of the size that the server wants
const root = document.documentElement;

let network; // what the server says of it: its name, outputs and layers, the sizes of pictures

// -- the picture ---------------------------------------------------------------------------------

let strokes = []; // each a list of points {x, y, width}, in pixels of the sheet
let version = 0; // grows with each change
const past = []; // the strokes before each change, for "undo"

function change(next) {
  past.push(strokes);
  strokes = next;
  changed();
}

function undo() {
  penUp();
  if (past.length === 0) return;
  question?.abort(); // what is gone must not be answered any more, not even late
  strokes = past.pop();
  changed();
}

function clear() {
  penUp();
  if (strokes.length === 0) return;
  question?.abort();
  change([]);
}

function changed() {
  version += 1;
  showBusy();
  element("undo").disabled = past.length === 0;
  for (const id of ["clear", "save"]) element(id).disabled = strokes.length === 0;
  element("invitation").hidden = strokes.length > 0 || cursor !== null;
  repaint();
  ask();
}

// -- the field -----------------------------------------------------------------------------------

// The field is the sheet without its margins, which are always blank: so it can be told what is
// ink and what is paper, however much of the field is drawn on. What is drawn beyond it is not ink.
const fieldWidth = () => sheet.width - 2 * network.margin;
const fieldHeight = () => sheet.height - 2 * network.margin;

// The point of the sheet at these parts of the field's width and height.
function pointAt(across, down) {
  return { x: network.margin + across * fieldWidth(), y: network.margin + down * fieldHeight() };
}

// Every stroke in one colour, on the sheet or in whatever size the field has on the screen. Those
// that are finished are painted once, on a canvas beside: there may be a thousand.
function paint(canvas, colour) {
  const done = stroke ? strokes.slice(0, -1) : strokes;
  const form = `${canvas.width} x ${canvas.height} ${colour}`;
  let beside = finished.get(canvas);
  if (beside?.form !== form || beside.strokes.some((points, i) => points !== done[i])) {
    const { width, height } = canvas;
    beside = { form, strokes: [], canvas: document.createElement("canvas") };
    Object.assign(beside.canvas, { width, height });
    finished.set(canvas, beside);
  }
  paintStrokes(contextOf(beside.canvas, canvas), done.slice(beside.strokes.length), colour);
  beside.strokes = done;
  const context = contextOf(canvas, canvas);
  context.save();
  context.resetTransform();
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(beside.canvas, 0, 0);
  context.restore();
  paintStrokes(context, stroke ? [stroke] : [], colour);
  return context;
}

const finished = new Map(); // for each canvas: its finished strokes, and what they are painted on

// For the pixels of a canvas, which is that of the sheet or of the field, or one beside it.
function contextOf(canvas, whose) {
  const margin = whose === sheet ? 0 : network.margin;
  const scale = canvas.width / (sheet.width - 2 * margin);
  const context = canvas.getContext("2d", { willReadFrequently: whose === sheet });
  context.setTransform(scale, 0, 0, scale, -margin * scale, -margin * scale);
  return context;
}

function paintStrokes(context, those, colour) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineCap = context.lineJoin = "round";
  context.save();
  context.beginPath();
  context.rect(network.margin, network.margin, fieldWidth(), fieldHeight());
  context.clip();
  those.forEach((points) => paintStroke(context, points));
  context.restore();
}

function paintStroke(context, [first, ...rest]) {
  context.beginPath(); // a line of no length would not be painted: what is clicked is a dot
  context.arc(first.x, first.y, first.width / 2, 0, 2 * Math.PI);
  context.fill();
  // As few lines as there can be: where two overlap, their edges look like beads. Only the
  // pressure of a pen needs more.
  let from = first;
  let width = null;
  for (const point of rest) {
    if (point.width !== width) {
      if (width !== null) context.stroke();
      width = context.lineWidth = point.width;
      context.beginPath();
      context.moveTo(from.x, from.y);
    }
    context.lineTo(point.x, point.y);
    from = point;
  }
  if (width !== null) context.stroke();
}

let repainting = false;

function repaint() {
  if (repainting) return; // at most once for each picture of the screen
  repainting = true;
  requestAnimationFrame(() => {
    repainting = false;
    paintField();
  });
}

function paintField() {
  const context = paint(field, colours().ink);
  if (cursor) paintCursor(context);
}

function paintCursor(context) {
  const arm = fieldWidth() / 30;
  context.lineWidth = fieldWidth() / 140;
  context.strokeStyle = stroke ? colours().above : colours().below;
  context.beginPath();
  context.moveTo(cursor.x - arm, cursor.y);
  context.lineTo(cursor.x + arm, cursor.y);
  context.moveTo(cursor.x, cursor.y - arm);
  context.lineTo(cursor.x, cursor.y + arm);
  context.stroke();
}

// As many pixels as the screen has there: what is drawn is sharp. At once: a new size is blank.
function fit() {
  field.width = Math.max(1, Math.round(field.clientWidth * devicePixelRatio));
  field.height = Math.max(1, Math.round((field.width * fieldHeight()) / fieldWidth()));
  paintField();
}

// The sheet as the server takes it: a byte for each pixel, white ink on black paper.
function greys() {
  const context = paint(sheet, "black");
  const { data } = context.getImageData(0, 0, sheet.width, sheet.height);
  return Uint8Array.from({ length: data.length / 4 }, (_, i) => data[4 * i + 3]);
}

// The same pixels as a file, of which `xpnet predict` says what is said here.
function save() {
  const saved = document.createElement("canvas");
  Object.assign(saved, { width: sheet.width, height: sheet.height });
  paintPixels(saved, greys(), grey);
  saved.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "drawing.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

// -- the pen -------------------------------------------------------------------------------------

let stroke = null; // the stroke that is being drawn
let pointer = null; // which pointer draws it; null for the keys
let cursor = null; // where the keys have the pen, while they are used

function penDown(point) {
  penUp();
  stroke = [point];
  change([...strokes, stroke]);
}

function penTo(points) {
  stroke.push(...points);
  changed();
}

function penUp() {
  stroke = null;
  pointer = null;
}

function thickness() {
  return (element("thickness").value / 100) * Math.min(fieldWidth(), fieldHeight());
}

// A pen that knows how hard it is pressed draws thinner and thicker than one that does not.
function pointOf(event) {
  const box = field.getBoundingClientRect();
  const pressed = event.pointerType === "pen" && event.pressure > 0 ? 0.5 + event.pressure : 1;
  const across = (event.clientX - box.left) / box.width;
  const down = (event.clientY - box.top) / box.height;
  return { ...pointAt(across, down), width: thickness() * pressed };
}

function usePointer() {
  field.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || pointer !== null) return; // a second finger, or the palm
    cursor = null;
    penDown(pointOf(event));
    pointer = event.pointerId;
    try {
      field.setPointerCapture(pointer);
    } catch {
      // It is gone already, or another program moves it: then it draws as long as it is inside.
    }
  });
  field.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    // Where it was since the last event too: a quick curve would have corners.
    const events = event.getCoalescedEvents?.() ?? [];
    penTo((events.length > 0 ? events : [event]).map(pointOf));
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    field.addEventListener(end, (event) => event.pointerId === pointer && penUp());
  }
  field.addEventListener("contextmenu", (event) => event.preventDefault()); // of a long touch
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function useKeys() {
  field.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const thicker = { "+": 1, "=": 1, "-": -1, "−": -1 }[event.key];
    if (event.key in ARROWS) moveCursor(...ARROWS[event.key], event.shiftKey ? 4 : 1);
    else if (event.key === " ") event.repeat || togglePen(); // held down it is one press
    else if (event.key === "Escape") penUp();
    else if (thicker) element("thickness").valueAsNumber += thicker;
    else return;
    event.preventDefault();
    repaint();
  });
  field.addEventListener("blur", () => {
    if (cursor) penUp();
    cursor = null;
    repaint();
  });
  document.addEventListener("keydown", (event) => {
    const command = event.ctrlKey || event.metaKey;
    if (command && !event.shiftKey && event.key.toLowerCase() === "z") undo();
    else if (!command && ["Delete", "Backspace"].includes(event.key)) clear();
    else return;
    event.preventDefault();
  });
}

function moveCursor(right, down, steps) {
  const { x, y } = cursor ?? pointAt(0.5, 0.5);
  const step = (steps * fieldWidth()) / 40;
  const [least, most] = [pointAt(0, 0), pointAt(1, 1)];
  cursor = {
    x: Math.min(most.x, Math.max(least.x, x + right * step)),
    y: Math.min(most.y, Math.max(least.y, y + down * step)),
  };
  element("invitation").hidden = true;
  if (stroke) penTo([{ ...cursor, width: thickness() }]);
}

function togglePen() {
  cursor ??= pointAt(0.5, 0.5);
  if (stroke) penUp();
  else penDown({ ...cursor, width: thickness() });
  announce(stroke ? "Pen down" : "Pen lifted");
}

// -- asking --------------------------------------------------------------------------------------

const PAUSE = 30; // milliseconds in which changes are gathered before they are asked about
const SLOW = 1000; // until an answer that is still on the page is said to be an old one
const LATER = 2000; // until the server is asked again, where it was not reached

let question = null; // what can be aborted, while the server is asked
let later = null; // the timer after which it is asked again
let answered = 0; // the version of the picture that the answer on the page is about
let answer = null; // what was answered; null to a blank field

class Lost extends Error {} // the server was not reached

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// Ask until the newest picture is answered: of two answers the second is that of the later picture.
async function ask() {
  if (question || (later && strokes.length > 0)) return; // what runs comes to this picture too
  while (answered !== version) {
    question = new AbortController();
    const { signal } = question;
    const slow = setTimeout(() => element("answers").classList.add("slow"), SLOW);
    let asked = version;
    try {
      if (strokes.length > 0) await pause(PAUSE);
      asked = version;
      const found = strokes.length > 0 ? await answerOf(greys(), signal) : null;
      if (signal.aborted) continue;
      if (found && found.server !== network.server) {
        await meet(); // another one answers there now
        continue;
      }
      show(found);
      answered = asked;
    } catch (error) {
      if (signal.aborted) continue;
      show(null, `No answer: ${error.message}`);
      if (error instanceof Lost) {
        later = setTimeout(askAgain, LATER);
        return;
      }
      answered = asked; // to the same question the same server would say the same
      await meet().catch(() => {});
    } finally {
      question = null;
      clearTimeout(slow);
    }
    showBusy();
  }
}

async function askAgain() {
  try {
    await meet();
    later = null;
    ask();
  } catch {
    later = setTimeout(askAgain, LATER);
  }
}

function answerOf(body, signal) {
  const headers = { "Content-Type": "application/octet-stream" };
  return contentOf("answer", { method: "POST", headers, body, signal });
}

async function contentOf(path, options) {
  let response;
  let text;
  try {
    response = await fetch(path, options);
    text = await response.text();
  } catch {
    throw new Lost("is xpnet draw still running?");
  }
  const content = JSON.parse(text);
  if (!response.ok) throw new Error(content.error);
  return content;
}

// -- showing -------------------------------------------------------------------------------------

const BLANK = "The field is blank: draw on it, and the network says here what it sees.";

// An answer, or null; and what is said beside it, or instead of it.
function show(found, note = found ? (found.problem ?? "") : BLANK) {
  const isNew = found !== null || note !== element("note").textContent;
  answer = found;
  element("answers").classList.remove("slow");
  element("note").textContent = note;
  showVerdict();
  showSeen(found?.seen);
  showOutputs(found?.outputs ?? network.outputs.map((name) => ({ name, value: null })));
  showLayers();
  if (isNew) announceAtRest();
}

// Whether what is answered is what is drawn: for those who have the page read to them, or test it.
function showBusy() {
  element("answers").setAttribute("aria-busy", answered !== version);
}

function best() {
  return (answer?.best ?? []).map((i) => answer.outputs[i]);
}

function verdict() {
  if (!answer?.outputs) return "";
  if (network.kind !== "values") return best().map(({ name }) => name).join(", ") || "none";
  const values = answer.outputs.map(({ value }) => shown(value));
  return values.length > 3 ? "" : values.join(", ");
}

function showVerdict() {
  const text = verdict();
  const detail = network.kind === "classes" && text ? shown(best()[0].value) : "";
  element("answer").replaceChildren(text, made("small", detail));
  element("answer").classList.toggle("words", text.length > 3);
}

function showSeen(seen) {
  const canvas = element("seen");
  const { height, width } = network.seen;
  Object.assign(canvas, { height, width }); // which clears it
  if (seen) paintPixels(canvas, bytesOf(seen.pixels), grey);
  const what = seen ? "your drawing" : "nothing yet";
  canvas.setAttribute("aria-label", `What the network sees: ${what}`);
}

// Probabilities as percent; values as they are.
function shown(value) {
  if (value === null) return "";
  return network.kind === "values" ? short(value) : `${(100 * value).toFixed(1)} %`;
}

const short = (value) => (value === null ? "?" : String(Number(value.toPrecision(3))));

function showOutputs(outputs) {
  const list = element("outputs");
  const rows = itemsOf(list, outputs.length, "output-template");
  list.classList.toggle("few", outputs.length <= 12);
  const longest = Math.max(...outputs.map(({ name }) => name.length));
  list.style.setProperty("--name", `${Math.min(16, longest + 1)}ch`); // so all bars are aligned
  list.tabIndex = outputs.length <= 12 ? -1 : 0; // where it is scrolled, also by keys
  const largest = Math.max(...outputs.map(({ value }) => Math.abs(value)), Number.MIN_VALUE);
  const isValue = network.kind === "values";
  list.hidden = isValue && outputs.length === 1; // it is the answer itself
  outputs.forEach(({ name, value }, i) => {
    const isBest = answer?.best?.includes(i) ?? false;
    const [label, bar, number] = rows[i].children;
    label.textContent = label.title = name;
    bar.firstElementChild.style.width = `${(100 * Math.abs(value)) / (isValue ? largest : 1)}%`;
    bar.firstElementChild.className = isBest || (isValue && value > 0) ? "above" : "below";
    number.textContent = shown(value);
    number.title = value ?? "";
    rows[i].classList.toggle("best", isBest);
  });
}

function showLayers() {
  const articles = itemsOf(element("layers"), network.layers.length, "layer-template");
  network.layers.forEach((layer, i) => showLayer(articles[i], layer, answer?.layers?.[i]));
}

function showLayer(article, layer, found) {
  const heading = article.querySelector("h3");
  const kind = layer.output ? "Output" : "Hidden layer";
  const above = found ? `, ${found.values.filter((value) => value > 0).length} above zero` : "";
  const units = layer.units === 1 ? "1 unit" : `${layer.units} units`;
  heading.replaceChildren(`${kind} ${layer.names} `, made("small", `${units}${above}`));
  showActivations(article.querySelector(".activations"), heading.textContent, layer, found);
  const strongest = itemsOf(article.querySelector(".units"), layer.pictures, "unit-template");
  strongest.forEach((item, i) => showUnit(item, layer, found?.strongest[i]));
}

const WIDEST = 200; // pixels of the page: so wide is a map at the most
const LARGEST = 32; // and so large a unit in it

function showActivations(canvas, label, layer, found) {
  const values = found?.values ?? new Array(layer.shown).fill(0);
  const columns = layer.columns ?? columnsOf(values.length);
  const rows = Math.ceil(values.length / columns);
  const size = Math.max(1, Math.min(LARGEST, Math.floor(WIDEST / columns)));
  const gap = size < 6 || layer.columns ? 0 : 1; // so that units that are alike are told apart
  Object.assign(canvas, { width: columns * size - gap, height: rows * size - gap });
  const context = canvas.getContext("2d");
  const largest = Math.max(...values.map(Math.abs), Number.MIN_VALUE);
  const { mixed } = colours();
  values.forEach((value, unit) => {
    context.fillStyle = `rgb(${mixed(value / largest).map(Math.round)})`;
    const [x, y] = [size * (unit % columns), size * Math.floor(unit / columns)];
    context.fillRect(x, y, size - gap, size - gap);
  });
  canvas.setAttribute("aria-label", `Activations of ${label}`);
  canvas.onpointermove = ({ offsetX, offsetY }) => {
    const [column, row] = [offsetX, offsetY].map((at) => Math.floor(at / size));
    const unit = row * columns + column;
    const name = layer.columns ? "" : `${unitName(layer, unit)}: `;
    canvas.title = unit < values.length ? `${name}${short(values[unit])}` : "";
  };
}

function showUnit(item, layer, unit) {
  const [canvas, caption, number] = item.children;
  const { height, width, channels } = network.weights;
  Object.assign(canvas, { height, width });
  const name = unit && unitName(layer, unit.number);
  caption.textContent = caption.title = name ?? "\u00a0"; // which keeps the line
  number.textContent = unit ? short(unit.value) : "\u00a0";
  canvas.setAttribute("aria-label", unit ? `Weights of ${name}` : "Weights of a strong unit");
  if (!unit) return;
  const { mixed } = colours();
  const ofGrey = (part) => mixed(part / 127);
  const ofColours = (...parts) => parts.map((part) => 128 + part);
  const weights = new Int8Array(bytesOf(unit.picture).buffer);
  paintPixels(canvas, weights, channels === 3 ? ofColours : ofGrey, channels);
}

function unitName(layer, unit) {
  if (layer.channels) return `map ${unit % layer.channels}`;
  return layer.unit_names?.[unit] ?? `unit ${unit}`;
}

// Columns for a map that is square or wider, without a rest in the last row where that can be had.
function columnsOf(units) {
  const side = Math.ceil(Math.sqrt(units));
  for (let columns = side; columns <= 2 * side; columns += 1) {
    if (units % columns === 0) return columns;
  }
  return side;
}

// The children of a list, as many as wanted, made of a template.
function itemsOf(list, count, template) {
  while (list.children.length > count) list.lastElementChild.remove();
  while (list.children.length < count) {
    list.append(element(template).content.firstElementChild.cloneNode(true));
  }
  return [...list.children];
}

function made(tag, text) {
  const child = document.createElement(tag);
  child.textContent = text;
  return child;
}

// -- colours and pixels --------------------------------------------------------------------------

const grey = (bright) => [bright, bright, bright];

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

// A pixel for each group of `channels` numbers, in the colour that `colour` has for them.
function paintPixels(canvas, numbers, colour, channels = 1) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i * channels < numbers.length; i += 1) {
    const group = numbers.slice(i * channels, (i + 1) * channels);
    image.data.set([...colour(...group), 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

// The colours of the page as they are now, light or dark; `mixed` is that of a number from -1 to 1.
function colours() {
  const style = getComputedStyle(root);
  const named = (name) => style.getPropertyValue(`--${name}`).trim();
  const parts = (name) => [1, 3, 5].map((at) => parseInt(named(name).slice(at, at + 2), 16));
  const [above, below, zero] = ["above", "below", "zero"].map(parts);
  const mixed = (share) => {
    const towards = share < 0 ? below : above;
    return zero.map((part, i) => part + Math.abs(share) * (towards[i] - part));
  };
  return { ink: named("ink"), above: named("above"), below: named("below"), mixed };
}

// -- for those who do not see the page -----------------------------------------------------------

let resting;

// Not while the drawing goes on: a new answer would interrupt the last one.
function announceAtRest() {
  clearTimeout(resting);
  resting = setTimeout(() => {
    const text = element("answer").innerText.replace(/\s+/g, " ").trim();
    announce([text && `Answer: ${text}.`, element("note").textContent].filter(Boolean).join(" "));
  }, 700);
}

function announce(text) {
  element("announcement").textContent = text;
}

// -- the beginning -------------------------------------------------------------------------------

// Learn what the network is. What was drawn stays, if another one has a field of the same size.
async function meet() {
  const found = await contentOf("network");
  if (found.server === network?.server) return;
  const size = ({ sheet, margin }) => `${sheet.width} x ${sheet.height}, ${margin}`;
  if (network && size(found) !== size(network)) {
    penUp();
    strokes = [];
    past.length = 0;
  }
  network = found;
  Object.assign(sheet, network.sheet);
  root.style.setProperty("--ratio", fieldWidth() / fieldHeight());
  document.title = `Draw: ${network.title}`;
  element("title").textContent = network.title;
  element("summary").textContent = network.summary;
  fit();
  changed();
}

async function begin() {
  while (!network) {
    try {
      await meet();
    } catch (error) {
      element("note").textContent = `No answer: ${error.message}`;
      await pause(LATER);
    }
  }
  element("undo").onclick = undo;
  element("clear").onclick = clear;
  element("save").onclick = save;
  usePointer();
  useKeys();
  new ResizeObserver(fit).observe(field);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    repaint();
    showLayers();
  });
}

begin();
