// The page: one image with its sliders, examples, and what is dropped.

import { startBatch } from "./batch.js";
import { largestBox, regionBoxes } from "./boxes.js";
import { listenForDrops } from "./drop.js";
import { ask, askPatiently, save } from "./server.js";
import { View, decode, decodeBase64, decodeMap } from "./view.js";

const find = (id) => document.getElementById(id);
const SMALLEST_REGION = 0.01;
const PAUSE_MS = 150; // after which a moving slider asks the server

let run; // what the server says of itself
let view;
let batch;
let ownThreshold; // the run's, as the slider has it
let file = null;
let answer = null; // of the server, for `file`
let map = null;
let example = -1;
let asking = new AbortController();
let timer = 0;

const settings = () => ({
  threshold: find("threshold").value === ownThreshold ? "" : find("threshold").value,
  label: find("label").value,
  multi: find("multi").checked,
});

async function start() {
  try {
    run = await ask("api/run");
  } catch (error) {
    complain(error.message);
    return;
  }
  document.title = `cdtr: ${run.run}`;
  find("run").textContent = run.run;
  find("about").textContent =
    `${run.class_names.length} classes: ${run.class_names.slice(0, 12).join(", ")}${run.class_names.length > 12 ? ", …" : ""}`;
  view = new View(find("canvas"), run.colours);
  view.setOpacity(Number(find("opacity").value));
  find("format").append(...run.formats.map((name) => new Option(name, name, name === "coco", name === "coco")));
  find("threshold").value = run.threshold;
  ownThreshold = find("threshold").value;
  find("reset").textContent = `back to ${run.threshold}`;
  drawScale();
  showValues();
  batch = startBatch(run, settings);
  listExamples();
  listen();
}

function listen() {
  find("threshold").addEventListener("input", () => { showValues(); preview(); askSoon(); });
  find("threshold").addEventListener("change", () => askNow());
  find("reset").addEventListener("click", () => { find("threshold").value = ownThreshold; showValues(); preview(); askNow(); });
  find("opacity").addEventListener("input", () => { showValues(); view.setOpacity(Number(find("opacity").value)); });
  find("multi").addEventListener("change", () => { preview(); askNow(); });
  find("label").addEventListener("change", () => askNow(true));
  find("file").addEventListener("change", (event) => { take([...event.target.files]); event.target.value = ""; });
  find("save").addEventListener("submit", (event) => { event.preventDefault(); download(); });
  find("previous").addEventListener("click", () => showExample(example - 1));
  find("next").addEventListener("click", () => showExample(example + 1));
  listenForDrops(find("veil"), take);
}

/** One image is shown, several go to the batch. */
function take(files) {
  if (files.length === 1) {
    markExample(-1);
    open(files[0]);
  } else if (files.length > 1) {
    batch.choose(files);
    find("many").scrollIntoView({ behavior: "smooth" });
  }
}

async function open(chosen) {
  if (chosen.size > run.upload_bytes) {
    complain(`${chosen.name} has ${(chosen.size / 2 ** 20).toFixed(1)} MiB, more than the ${run.upload_bytes / 2 ** 20} MiB taken here: scale it down`);
    return;
  }
  file = chosen;
  answer = map = null;
  find("label").value = "";
  await askNow(true);
}

/** Ask for boxes and scores; with `fresh` for the map as well, as the image or the class is another. */
async function askNow(fresh = false) {
  clearTimeout(timer);
  if (file === null) return;
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const wanted = file;
  find("drop").classList.add("busy");
  find("boxes").classList.add("waiting");
  try {
    const found = await askPatiently("api/localize", { fields: { image: file, ...settings(), map: fresh }, signal });
    if (fresh) await takeMap(wanted, found, signal);
    if (signal.aborted) return;
    answer = found;
    complain(null);
    showAnswer();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (answer === null) clearImage();
    complain(error.message);
  }
  if (!signal.aborted) {
    find("drop").classList.remove("busy");
    find("boxes").classList.remove("waiting");
  }
}

function askSoon() {
  clearTimeout(timer);
  find("boxes").classList.add("waiting");
  timer = setTimeout(() => askNow(), PAUSE_MS);
}

async function takeMap(wanted, found, signal) {
  const [picture, values] = await Promise.all([pictureOf(wanted, found, signal), decodeMap(found.map)]);
  if (signal.aborted) return;
  map = values;
  view.show(picture, [found.width, found.height]);
  view.setMap(map);
  find("empty").hidden = true;
  find("drop").classList.add("filled");
  find("download").disabled = false;
}

/** Decoded here, or by the server where this browser cannot, or does it another way. */
async function pictureOf(wanted, found, signal) {
  const picture = await decode(wanted);
  if (picture !== null && picture.width === found.width && picture.height === found.height) return picture;
  const again = await askPatiently("api/localize", { fields: { image: wanted, picture: true }, signal });
  return decodeBase64(again.picture, "image/jpeg");
}

/** The boxes at the slider's threshold, at once; their scores come from the server. */
function preview() {
  if (map === null || answer.empty) return;
  const { values, width, height } = map;
  const threshold = Number(find("threshold").value);
  const boxes = find("multi").checked
    ? regionBoxes(values, width, height, threshold, SMALLEST_REGION)
    : largestBox(values, width, height, threshold);
  const [across, down] = [answer.width / width, answer.height / height];
  const scaled = boxes.map(([x0, y0, x1, y1]) => [x0 * across, y0 * down, x1 * across, y1 * down]);
  view.setBoxes(scaled.map((xyxy) => ({ xyxy, text: answer.map_label })));
  listBoxes(scaled.map((xyxy) => ({ xyxy, label: answer.map_label })));
}

function showAnswer() {
  find("name").textContent = answer.image;
  find("note").textContent = answer.note ?? `${answer.width} × ${answer.height} pixels`;
  view.setBoxes(answer.boxes.map(({ xyxy, label, score }) => ({ xyxy, text: `${label}, ${answer.scored ? "box " : ""}${percent(score)}` })));
  listBoxes(answer.boxes);
  listClasses();
  const boxes = answer.boxes.map((box) => `${box.label}, ${percent(box.score)}`).join("; ");
  find("canvas").setAttribute("aria-label", `${answer.image} with its heat map for ${answer.map_label}. Boxes: ${boxes || "none"}`);
  const other = find("label").value && find("label").value !== mostProbable()[0][0];
  find("meaning").textContent = !answer.scored
    ? "The percentage is the class’s probability, of several regions times the mean of the map in each. `cdtr calibrate` with boxes gives a review score as well."
    : "The review score is the chance that box and object overlap by half or more (IoU 0.5)." +
      (other ? " It was fitted on most probable classes; for another it is a guess." : "");
}

function listBoxes(boxes) {
  const items = boxes.map(({ xyxy, label, score, doubts }) => {
    const item = document.createElement("li");
    const head = part("div", "head", label);
    const shown = score === undefined ? "…" : percent(score);
    head.append(part("span", `score ${answer.scored && score !== undefined ? grade(score) : ""}`, `${answer.scored ? "review score " : ""}${shown}`));
    const [x0, y0, x1, y1] = xyxy.map(Math.round);
    item.append(head, part("div", "where", `x ${x0} to ${x1}, y ${y0} to ${y1} (${x1 - x0} × ${y1 - y0} pixels)`));
    if (answer.scored) item.append(part("div", "probability", `class probability ${percent(answer.probabilities[label])}`));
    if (doubts?.length) item.append(part("div", "doubts", `Doubts: ${doubts.join("; ")}`));
    return item;
  });
  find("nothing").hidden = true;
  const none = answer.empty
    ? `No box: ${answer.map_label} is a class without an object (${percent(1 - answer.object_probability)}).`
    : "No box: nothing is hotter than the threshold.";
  find("boxes").replaceChildren(...(items.length ? items : [part("li", "where", none)]));
}

/** All classes, the most probable first. */
function listClasses() {
  const chosen = find("label").value;
  const options = mostProbable().map(([name, probability]) => new Option(`${name}, ${percent(probability)}`, name));
  find("label").replaceChildren(new Option(`the most probable: ${mostProbable()[0][0]}`, ""), ...options);
  find("label").value = chosen;
}

const mostProbable = () => Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);

async function download() {
  if (file === null) return;
  find("download").disabled = true;
  try {
    const fields = { images: file, format: find("format").value, ...settings() };
    const { address } = await save(await askPatiently("api/export", { fields, as: "response" }));
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    complain(null);
  } catch (error) {
    complain(error.message);
  }
  find("download").disabled = false;
}

function listExamples() {
  find("examples").hidden = run.examples.length === 0;
  const buttons = run.examples.map((name, number) => {
    const button = Object.assign(document.createElement("button"), { type: "button", title: name, tabIndex: -1 });
    button.append(Object.assign(new Image(), { src: `api/examples/${number}/thumbnail`, alt: name, loading: "lazy" }));
    button.addEventListener("click", () => showExample(number));
    button.addEventListener("focus", () => stopAt(number));
    return button;
  });
  find("strip").replaceChildren(...buttons);
  find("strip").addEventListener("keydown", walkStrip);
  stopAt(0);
  markExample(-1);
}

/** All thumbnails are one stop of the tab key, the one that was last in focus; arrow keys move between them. */
function stopAt(number) {
  for (const button of find("strip").querySelectorAll("[tabindex='0']")) button.tabIndex = -1;
  if (find("strip").children[number]) find("strip").children[number].tabIndex = 0;
}

function walkStrip(event) {
  const buttons = [...find("strip").children];
  const now = buttons.indexOf(document.activeElement);
  const next = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (next === undefined || buttons[next] === undefined) return;
  event.preventDefault();
  buttons[next].focus();
}

async function showExample(number) {
  const count = run.examples.length;
  markExample((number + count) % count);
  const shown = example;
  try {
    const content = await (await ask(`api/examples/${shown}`, { as: "response" })).blob();
    if (shown === example) await open(new File([content], run.examples[shown]));
  } catch (error) {
    clearImage();
    complain(error.message);
  }
}

function markExample(number) {
  example = number;
  find("place").textContent = number < 0 ? `${run.examples.length}` : `${number + 1} of ${run.examples.length}`;
  [...find("strip").children].forEach((button, index) => button.setAttribute("aria-current", index === number));
  // The strip alone: scrollIntoView would move the page too.
  const button = find("strip").children[number];
  if (button) stopAt(number);
  if (button) find("strip").scrollTo({ left: button.offsetLeft - find("strip").offsetLeft - find("strip").clientWidth / 2 + 36, behavior: "smooth" });
}

function clearImage() {
  file = map = answer = null;
  view.image = null;
  find("canvas").hidden = true;
  find("empty").hidden = false;
  find("drop").classList.remove("filled");
  find("download").disabled = true;
  find("label").replaceChildren(new Option("the most probable class", ""));
  find("boxes").replaceChildren();
  find("nothing").hidden = false;
  for (const id of ["name", "note", "meaning"]) find(id).textContent = "";
}

function complain(message) {
  find("error").hidden = message === null;
  find("error").textContent = message ?? "";
}

function showValues() {
  find("threshold-value").textContent = Number(find("threshold").value).toFixed(2);
  find("opacity-value").textContent = percent(Number(find("opacity").value));
  find("threshold").setAttribute("aria-valuetext", find("threshold-value").textContent);
  find("opacity").setAttribute("aria-valuetext", find("opacity-value").textContent);
  find("reset").hidden = find("threshold").value === ownThreshold;
}

function drawScale() {
  const pixels = new ImageData(256, 1);
  run.colours.forEach((colour, index) => pixels.data.set([...colour, 255], 4 * index));
  find("scale").getContext("2d").putImageData(pixels, 0, 0);
}

const percent = (share) => `${Math.round(100 * share)}%`;
const grade = (score) => (score >= 0.7 ? "good" : score >= 0.4 ? "middling" : "bad");

function part(tag, kind, text) {
  return Object.assign(document.createElement(tag), { className: kind, textContent: text });
}

start();
