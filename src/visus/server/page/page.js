// The page at "/": one picture at a time is sent to /predict, and what comes back is drawn on it.
"use strict";

const at = (id) => document.getElementById(id);
const state = { models: [], file: null, asked: 0, map: null, colours: [], names: [], rows: [], focus: null, evidence: null };
const NONE = 65535; // in state.map, which says of every pixel whose it is

// What the address hands over behind "#token=" never reaches a server's log; the tab alone remembers it.
const handed = new URLSearchParams(location.hash.slice(1)).get("token");
if (handed) {
  sessionStorage.setItem("token", handed);
  history.replaceState(null, "", location.pathname + location.search);
}

function headers() {
  const token = sessionStorage.getItem("token");
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function get(address, options = {}) {
  const answer = await fetch(address, { ...options, headers: { ...headers(), ...options.headers } });
  at("token").hidden = answer.status !== 401;
  return answer;
}

function tell(text, kind = "") {
  at("status").textContent = text;
  at("status").className = kind;
}

function percent(share) {
  const value = 100 * share;
  return `${value >= 99.95 || value === 0 ? value.toFixed(0) : value.toFixed(1)} %`;
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Colours: the model's own where it has some, else turned by the golden angle, class by class.
function colourOf(name) {
  const model = present();
  const index = model.classes.indexOf(name);
  const own = model.palette[index];
  if (own && own.some((level) => level > 0)) return `rgb(${own.join(" ")})`;
  return `hsl(${Math.round((172 + Math.max(0, index) * 137.508) % 360)} 55% 42%)`;
}

function present() {
  return state.models.find((model) => model.name === at("model").value) ?? state.models[0];
}

async function start() {
  try {
    const answer = await get("/models");
    if (!answer.ok) {
      tell(answer.status === 401 ? "This server asks for a token." : "The server does not answer as it should.", "bad");
      return;
    }
    const told = await answer.json();
    state.models = told.models;
    at("method").replaceChildren(new Option("the usual way", ""), ...told.methods.map((name) => new Option(name.replaceAll("_", " "), name)));
  } catch {
    tell("The server cannot be reached.", "bad");
    return;
  }
  at("model").replaceChildren(...state.models.map((model) => new Option(model.name, model.name)));
  at("models").hidden = state.models.length < 2;
  tell("");
  about();
}

const WORDS = { classify: "says which class a picture shows", detect: "finds objects", segment: "names the class of every pixel",
  segment_multilabel: "names the classes of every pixel", regress: "measures a picture" };

function about() {
  const model = present();
  if (!model) return;
  const shown = model.classes.slice(0, 6).join(", ");
  const more = model.classes.length > 6 ? ` and ${model.classes.length - 6} more` : "";
  at("about").textContent = `${model.name} ${WORDS[model.task] ?? model.task}: ${shown}${more}`;
  document.title = `${model.name} · visus`;
}

function predictAddress(form) {
  const asked = new URLSearchParams();
  if (state.models.length > 1) asked.set("model", present().name);
  if (form !== "json") asked.set("as", form);
  const text = asked.toString();
  return `/predict${text ? `?${text}` : ""}`;
}

function body(file) {
  const form = new FormData();
  form.append("files", file, file.name || "picture.png");
  return form;
}

async function ask(file) {
  const number = ++state.asked;
  state.file = file;
  clearAnswer();
  show(file);
  tell("Looking …", "busy");
  const began = performance.now();
  let answer, said;
  try {
    answer = await get(predictAddress("json"), { method: "POST", body: body(file) });
    said = await answer.json();
  } catch {
    if (number === state.asked) tell("The server cannot be reached.", "bad");
    return;
  }
  if (number !== state.asked) return; // another picture came meanwhile
  const milliseconds = Math.round(performance.now() - began);
  describe(file, said);
  if (said.error) {
    const wait = answer.headers.get("Retry-After");
    tell(`${said.error.what}${wait ? ` – try again in ${wait} s` : ""}`, "bad");
    return;
  }
  const [prediction] = said.predictions;
  if (!prediction) {
    tell(`This picture cannot be read: ${said.problems[0].why}`, "bad");
    at("frame").hidden = true;
    at("invitation").hidden = false;
    at("drop").classList.remove("full");
    return;
  }
  tell(`Answered in ${milliseconds} ms`);
  at("nothing").hidden = true;
  at("why").hidden = false;
  if (prediction.boxes) showObjects(prediction);
  else if (prediction.areas) await showRegions(file, prediction, number);
  else if (prediction.values) showNumbers(prediction);
  else showClasses(prediction);
}

function show(file) {
  const picture = at("picture");
  if (picture.src.startsWith("blob:")) URL.revokeObjectURL(picture.src);
  picture.onload = () => {
    picture.onload = null;
    const small = Math.max(picture.naturalWidth, picture.naturalHeight) < 200;
    picture.classList.toggle("small", small);
    const factor = small ? Math.max(1, Math.floor(320 / Math.max(picture.naturalWidth, picture.naturalHeight))) : 0;
    picture.style.width = factor ? `${factor * picture.naturalWidth}px` : "";
  };
  picture.onerror = () => { // such as TIFF, which browsers do not show: the server's drawing does
    picture.onerror = null;
    showDrawn(file);
  };
  picture.src = URL.createObjectURL(file);
  picture.alt = `The picture ${file.name || ""}`;
  at("frame").hidden = false;
  at("invitation").hidden = true;
  at("clear").hidden = false;
  at("drop").classList.add("full");
}

async function showDrawn(file) {
  const answer = await get(predictAddress("png"), { method: "POST", body: body(file) });
  if (!answer.ok || state.file !== file) return;
  at("picture").src = URL.createObjectURL(await answer.blob());
  at("boxes").hidden = at("regions").hidden = true;
}

function clearAnswer() {
  for (const id of ["scores", "boxes", "ways"]) at(id).replaceChildren();
  for (const id of ["headline", "why", "regions", "hovered", "explanation", "ways", "slider", "faith", "believe"]) at(id).hidden = true;
  at("boxes").hidden = false;
  at("nothing").hidden = false;
  state.map = state.evidence = state.focus = null;
  state.rows = [];
}

function clear() {
  state.asked += 1;
  state.file = null;
  clearAnswer();
  at("frame").hidden = at("clear").hidden = true;
  at("invitation").hidden = false;
  at("drop").classList.remove("full");
  at("json").textContent = "{}";
  at("curl").textContent = "";
  at("file").value = "";
  tell("");
}

function headline(text, small = "") {
  at("headline").replaceChildren(document.createTextNode(text), document.createTextNode(" "), element("small", "", small));
  at("headline").hidden = false;
}

function row(name, value, share, colour, act) {
  const line = element(act ? "button" : "div", "row");
  if (act) line.type = "button";
  if (colour) line.style.setProperty("--own", colour);
  const title = element("span", "name");
  if (colour) title.append(element("span", "dot"));
  title.append(element("b", "", name));
  title.title = name;
  line.append(title, element("span", "value", value));
  if (share !== null) {
    const bar = element("span", "bar");
    const filled = element("i");
    filled.style.setProperty("--share", `${Math.max(0.5, 100 * share)}%`);
    bar.append(filled);
    line.append(bar);
  }
  const item = element("li");
  item.append(line);
  at("scores").append(item);
  if (act) {
    line.addEventListener("mouseenter", () => act(true));
    line.addEventListener("mouseleave", () => act(false));
    line.addEventListener("focus", () => act(true));
    line.addEventListener("blur", () => act(false));
  }
  return line;
}

function showClasses(prediction) {
  headline(prediction.labels ? prediction.labels.join(", ") || "nothing" : prediction.label, percent(prediction.score));
  for (const [name, score] of Object.entries(prediction.scores)) row(name, percent(score), score, "");
}

function showNumbers(prediction) {
  const entries = Object.entries(prediction.values);
  const shown = (value) => (value === null ? "not finite" : Number(value.toPrecision(5)).toString());
  if (entries.length === 1) headline(shown(entries[0][1]), entries[0][0]);
  else for (const [name, value] of entries) row(name, shown(value), null, "");
}

function showObjects({ boxes, labels, scores, masks }) {
  const counts = new Map();
  for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  const kinds = [...counts].map(([label, count]) => `${count} ${label}`).join(", ");
  headline(boxes.length === 1 ? labels[0] : `${boxes.length || "No"} objects`, boxes.length > 1 ? kinds : "");
  const picture = at("picture");
  const place = () => {
    const width = picture.naturalWidth, height = picture.naturalHeight;
    at("boxes").classList.toggle("crowded", boxes.length > 12);
    boxes.forEach(([x0, y0, x1, y1], i) => {
      const box = element("button", "box");
      const colour = colourOf(labels[i]);
      box.type = "button";
      box.tabIndex = -1; // the list beside it is walked through by keys
      box.style.setProperty("--own", colour);
      box.style.borderColor = colour;
      Object.assign(box.style, { left: `${100 * x0 / width}%`, top: `${100 * y0 / height}%`,
        width: `${100 * (x1 - x0) / width}%`, height: `${100 * (y1 - y0) / height}%` });
      box.classList.toggle("top", y0 < height * 0.05);
      box.append(element("span", "", `${labels[i]} ${percent(scores[i])}`));
      box.setAttribute("aria-label", `${labels[i]} ${percent(scores[i])}`);
      const line = row(labels[i], percent(scores[i]), scores[i], colour, (on) => light(box, line, on, i));
      state.rows.push(line);
      box.addEventListener("mouseenter", () => light(box, line, true, i));
      box.addEventListener("mouseleave", () => light(box, line, false, i));
      box.addEventListener("click", () => line.focus());
      at("boxes").append(box);
    });
  };
  whenShown(picture, () => { place(); if (masks) showMasks(masks, labels); });
}

// Masks come as COCO's compressed run lengths: column by column, six bits a letter, most of them differences.
function decoded({ size: [height, width], counts }) {
  const runs = [], mask = new Uint8Array(height * width);
  for (let i = 0; i < counts.length;) {
    let value = 0, shift = 0, bits = 32;
    while (bits & 32) {
      bits = counts.charCodeAt(i++) - 48;
      value |= (bits & 31) << shift;
      shift += 5;
    }
    if (bits & 16) value |= -1 << shift;
    runs.push(value + (runs.length > 2 ? runs[runs.length - 2] : 0));
  }
  let at = 0;
  runs.forEach((run, k) => {
    for (const end = at + run; at < end; at++) if (k % 2) mask[at % height * width + Math.floor(at / height)] = 1;
  });
  return mask;
}

function showMasks(masks, labels) {
  if (!masks.length) return;
  const [height, width] = masks[0].size;
  state.map = new Uint16Array(height * width).fill(NONE);
  const drawn = masks.map((mask, i) => ({ i, pixels: decoded(mask) }));
  const area = (one) => one.pixels.reduce((sum, inside) => sum + inside, 0);
  for (const { i, pixels } of drawn.sort((a, b) => area(b) - area(a))) pixels.forEach((inside, at) => { if (inside) state.map[at] = i; });
  state.names = labels;
  state.colours = labels.map((label) => levels(colourOf(label)));
  Object.assign(at("regions"), { width, height, hidden: false });
  at("slider").hidden = false;
  paint();
}

// Red, green and blue of a colour as style sheets write it.
function levels(colour) {
  const context = document.createElement("canvas").getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data;
}

function light(box, line, on, i) {
  state.focus = on ? i : null;
  paint();
  box.classList.toggle("lit", on);
  line.classList.toggle("lit", on);
  at("boxes").classList.toggle("dimming", on);
}

function whenShown(picture, act) {
  if (picture.complete && picture.naturalWidth) act();
  else picture.addEventListener("load", act, { once: true });
}

async function showRegions(file, prediction, number) {
  const entries = Object.entries(prediction.areas);
  headline(entries[0]?.[0] ?? "nothing", entries.length ? `on ${percent(entries[0][1])} of the picture` : "");
  if (present().task === "segment_multilabel") { // several classes a pixel: no one map holds them, a drawing mixes their colours
    for (const [name, share] of entries) row(name, percent(share), share, colourOf(name));
    await showDrawn(file);
    return;
  }
  for (const [name, share] of entries) {
    const index = present().classes.indexOf(name);
    state.rows[index] = row(name, percent(share), share, colourOf(name), (on) => {
      state.focus = on ? index : null;
      paint();
    });
  }
  const answer = await get(predictAddress("map"), { method: "POST", body: body(file) });
  if (!answer.ok || number !== state.asked) return;
  const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = at("regions");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const numbers = new Map(present().palette.map((colour, i) => [colour[0] << 16 | colour[1] << 8 | colour[2], i]));
  state.names = present().classes;
  state.colours = present().palette;
  state.map = new Uint16Array(canvas.width * canvas.height);
  for (let i = 0; i < state.map.length; i++) {
    state.map[i] = numbers.get(pixels[4 * i] << 16 | pixels[4 * i + 1] << 8 | pixels[4 * i + 2]) ?? NONE;
  }
  canvas.hidden = false;
  at("slider").hidden = false;
  paint();
}

function paint() {
  if (!state.map) return;
  const canvas = at("regions"), context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const strength = 2.55 * at("strength").value;
  for (let i = 0; i < state.map.length; i++) {
    const colour = state.colours[state.map[i]];
    if (!colour) continue;
    image.data[4 * i] = colour[0];
    image.data[4 * i + 1] = colour[1];
    image.data[4 * i + 2] = colour[2];
    image.data[4 * i + 3] = state.focus === null || state.focus === state.map[i] ? strength : strength / 6;
  }
  context.putImageData(image, 0, 0);
}

// Why: what /explain says is laid over the picture, the more opaque the more it speaks for the answer.
async function explain(check) {
  const file = state.file, number = state.asked;
  if (!file) return;
  const asked = new URLSearchParams({ model: present().name, method: at("method").value });
  if (check) asked.set("check", "true");
  tell(check ? "Asking it about some hundred versions of the picture …" : "Looking for reasons …", "busy");
  let answer, said;
  try {
    answer = await get(`/explain?${asked}`, { method: "POST", body: body(file) });
    said = await answer.json();
  } catch {
    if (number === state.asked) tell("The server cannot be reached.", "bad");
    return;
  }
  if (number !== state.asked) return;
  if (!answer.ok) {
    tell(said.error ? `${said.error.what}${said.error.fix ? ` (${said.error.fix})` : ""}` : said.problems[0].why, "bad");
    return;
  }
  tell("");
  const ways = said.explanations.map((one, i) => {
    const way = element("button", "", `${one.label} ${said.explanations.length > 1 ? `${i + 1}` : ""}`.trim());
    way.type = "button";
    way.addEventListener("click", () => choose(way, one, said));
    return way;
  });
  const none = element("button", "", "The answer");
  none.type = "button";
  none.addEventListener("click", () => choose(none, null, said));
  at("ways").replaceChildren(none, ...ways);
  at("ways").hidden = at("believe").hidden = at("slider").hidden = false;
  choose(ways[0], said.explanations[0], said);
}

function choose(way, one, said) {
  for (const each of at("ways").children) each.setAttribute("aria-pressed", String(each === way));
  state.evidence = null;
  at("explanation").hidden = !one;
  at("regions").hidden = Boolean(one) || !state.map;
  at("boxes").classList.toggle("away", Boolean(one) && !one.box);
  for (const box of at("boxes").children) box.classList.toggle("lit", Boolean(one?.box) && sameBox(box, one.box));
  at("boxes").classList.toggle("dimming", Boolean(one?.box));
  at("slider").hidden = !one && !state.map;
  const found = one?.faithfulness;
  at("faith").hidden = !one;
  at("faith").textContent = !one ? "" : [
    `By ${said.method.replaceAll("_", " ")}.`,
    one.empty ? "Nothing speaks for it." : "",
    found ? `Gain ${found.gain.toFixed(3)} over random maps; ${found.random_maps_beaten} of ${found.random_maps} beaten; ` +
      `rank correlation ${found.correlation_untrained.toFixed(2)} with maps of untrained networks.` : "",
    ...said.warnings,
  ].filter(Boolean).join(" ");
  if (!one) return;
  const picture = new Image();
  picture.onload = () => {
    const canvas = at("explanation"), context = canvas.getContext("2d", { willReadFrequently: true });
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    context.drawImage(picture, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    state.evidence = new Uint8Array(pixels.length / 4).map((_, i) => pixels[4 * i]);
    shade();
  };
  picture.src = one.map;
}

function sameBox(box, [x0, y0]) {
  const picture = at("picture");
  return Math.abs(parseFloat(box.style.left) - 100 * x0 / picture.naturalWidth) < 0.5 &&
    Math.abs(parseFloat(box.style.top) - 100 * y0 / picture.naturalHeight) < 0.5;
}

function shade() {
  if (!state.evidence) return;
  const canvas = at("explanation"), context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const strength = at("strength").value / 100;
  state.evidence.forEach((level, i) => {
    const share = level / 255;
    image.data[4 * i] = 70 + 185 * Math.min(1, 1.4 * share);
    image.data[4 * i + 1] = 20 + 200 * share * share;
    image.data[4 * i + 2] = 150 * (1 - share);
    image.data[4 * i + 3] = 255 * Math.min(1, strength * (0.06 + 1.3 * share));
  });
  context.putImageData(image, 0, 0);
}

function hover(event) {
  if (!state.map || state.evidence) return;
  const canvas = at("regions"), frame = canvas.getBoundingClientRect();
  const x = Math.floor((event.clientX - frame.left) / frame.width * canvas.width);
  const y = Math.floor((event.clientY - frame.top) / frame.height * canvas.height);
  const inside = x >= 0 && y >= 0 && x < canvas.width && y < canvas.height;
  const found = inside ? state.map[y * canvas.width + x] : NONE;
  const name = state.names[found];
  at("hovered").hidden = !name;
  at("hovered").textContent = name ?? "";
  const focus = name ? found : null;
  if (focus !== state.focus) {
    state.focus = focus;
    state.rows.forEach((line, i) => line.classList.toggle("lit", i === focus));
    paint();
  }
}

function leave() {
  at("hovered").hidden = true;
  if (!state.map) return;
  state.focus = null;
  for (const line of document.querySelectorAll("#scores .row.lit")) line.classList.remove("lit");
  paint();
}

function describe(file, said) {
  at("json").textContent = JSON.stringify(said, null, 1);
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const token = sessionStorage.getItem("token") ? " -H 'Authorization: Bearer TOKEN'" : "";
  at("curl").textContent = `curl${token} -F ${quoted(`files=@${file.name || "picture.png"}`)} ${quoted(location.origin + predictAddress("json"))}`;
}

// The camera
async function openCamera() {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    const video = at("video");
    video.srcObject = stream;
    await video.play();
    video.hidden = at("shoot").hidden = false;
    at("invitation").hidden = at("frame").hidden = true;
    at("shoot").focus();
  } catch (error) {
    tell(`The camera cannot be used: ${error.message}`, "bad");
  }
}

function shoot() {
  const video = at("video"), canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  closeCamera();
  canvas.toBlob((blob) => ask(new File([blob], "camera.jpg", { type: "image/jpeg" })), "image/jpeg", 0.92);
}

function closeCamera() {
  const video = at("video");
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  video.hidden = at("shoot").hidden = true;
}

function take(files) {
  if (!files.length || !present()) return;
  closeCamera();
  ask(files[0]);
}

// Events
at("file").addEventListener("change", (event) => take([...event.target.files]));
at("camera").hidden = !navigator.mediaDevices?.getUserMedia;
at("camera").addEventListener("click", openCamera);
at("shoot").addEventListener("click", shoot);
at("clear").addEventListener("click", () => { clear(); at("file").focus(); });
at("model").addEventListener("change", () => { about(); if (state.file) ask(state.file); });
at("strength").addEventListener("input", () => { paint(); shade(); });
at("explain").addEventListener("click", () => explain(false));
at("believe").addEventListener("click", () => explain(true));
at("method").addEventListener("change", () => { if (!at("ways").hidden) explain(false); });
at("frame").addEventListener("mousemove", hover);
at("frame").addEventListener("mouseleave", leave);
at("token").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", at("secret").value);
  start();
});
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) { event.preventDefault(); take(files); }
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); at("drop").classList.add("over"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) at("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  take([...event.dataTransfer.files]);
});
for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(at(button.dataset.copies).textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { closeCamera(); if (!state.file) at("invitation").hidden = false; else at("frame").hidden = false; }
  const lines = [...document.querySelectorAll("#scores button.row")], here = lines.indexOf(document.activeElement);
  if (here >= 0 && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    event.preventDefault();
    lines[(here + (event.key === "ArrowDown" ? 1 : lines.length - 1)) % lines.length].focus();
  }
});
start();
