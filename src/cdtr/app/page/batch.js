// Many images: sent a few at a time, in order, so that the bar moves; the result comes as one download.

import { ask, askPatiently, save } from "./server.js";

const AT_A_TIME = 8;
const USUAL = ["coco", "yolo"];
const find = (id) => document.getElementById(id);

/** Wires the form; `choose` takes files. settings: what the sliders say. */
export function startBatch(run, settings) {
  let files = [];
  let working = null;

  function choose(some) {
    files = some
      .filter((file) => !file.name.startsWith("."))
      .sort((a, b) => pathOf(a).localeCompare(pathOf(b), undefined, { numeric: true }));
    find("chosen").textContent = `${files.length} ${files.length === 1 ? "file" : "files"} chosen`;
    complain(files.length > run.images ? `${files.length} files: at most ${run.images} at once` : null);
    find("state").textContent = "";
    enable();
  }

  function enable() {
    const ready = files.length > 0 && files.length <= run.images && chosenFormats().length > 0;
    find("start").disabled = working !== null || !ready;
  }

  async function work() {
    working = new AbortController();
    const { signal } = working;
    const { threshold, multi } = settings();
    const [total, leftOut] = [files.length, []];
    let [done, boxes, batch] = [0, 0, null];
    begin(total);
    try {
      const fields = { format: chosenFormats().join(","), threshold, multi };
      batch = (await askPatiently("api/batches", { fields, signal })).batch;
      for (const some of groups(files, run.upload_bytes, leftOut)) {
        const { images } = await askPatiently(`api/batches/${batch}/images`, { fields: { images: some }, signal });
        done += images.length;
        boxes += images.reduce((sum, image) => sum + image.boxes, 0);
        leftOut.push(...images.filter((image) => image.error).map((image) => image.error));
        find("progress").value = done;
        find("state").textContent = `${done} of ${total} images`;
      }
      if (done === 0) throw new Error("None of the files is small enough to be sent");
      find("progress").value = total;
      offer(await save(await ask(`api/batches/${batch}/result`, { as: "response", signal })));
      find("state").textContent = `${boxes} boxes in ${total - leftOut.length} images`;
    } catch (error) {
      if (error.name === "AbortError") find("state").textContent = `cancelled after ${done} of ${total} images`;
      else complain(error.message);
    }
    if (batch !== null) ask(`api/batches/${batch}`, { method: "DELETE", as: "response" }).catch(() => {});
    end(leftOut);
  }

  function begin(total) {
    complain(null);
    Object.assign(find("progress"), { value: 0, max: total, hidden: false });
    find("state").textContent = `0 of ${total} images`;
    find("cancel").hidden = false;
    find("left-out").hidden = true;
    offer(null);
    enable();
  }

  function end(leftOut) {
    working = null;
    find("cancel").hidden = true;
    find("left-out").hidden = leftOut.length === 0;
    find("left-out").querySelector("summary").textContent = `${leftOut.length} left out`;
    const items = leftOut.map((reason) => Object.assign(document.createElement("li"), { textContent: reason }));
    find("left-out").querySelector("ul").replaceChildren(...items);
    enable();
  }

  const boxes = run.formats.map((name) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "checkbox", value: name, checked: USUAL.includes(name) });
    input.addEventListener("change", enable);
    label.className = "check";
    label.append(input, name);
    return label;
  });
  find("formats").replaceChildren(...boxes);
  for (const id of ["folder", "files"]) {
    find(id).addEventListener("change", (event) => { choose([...event.target.files]); event.target.value = ""; });
  }
  find("batch").addEventListener("submit", (event) => { event.preventDefault(); work(); });
  find("cancel").addEventListener("click", () => working?.abort());
  return { choose };
}

/** Files in order, a few at a time and never above what one request may hold; larger ones are left out. */
function* groups(files, uploadBytes, leftOut) {
  const room = uploadBytes - 65536; // names and boundaries come on top
  let some = [];
  let bytes = 0;
  for (const file of files) {
    if (file.size > room) {
      leftOut.push(`${pathOf(file)} has more than ${(room / 2 ** 20).toFixed(1)} MiB: scale it down`);
      continue;
    }
    if (some.length === AT_A_TIME || bytes + file.size > room) {
      if (some.length) yield some;
      [some, bytes] = [[], 0];
    }
    some.push(file);
    bytes += file.size;
  }
  if (some.length) yield some;
}

const pathOf = (file) => file.pathBelow || file.webkitRelativePath || file.name;
const chosenFormats = () => [...find("formats").querySelectorAll("input:checked")].map((input) => input.value);

function offer(saved) {
  const link = find("result-file");
  if (link.href.startsWith("blob:")) URL.revokeObjectURL(link.href);
  link.hidden = saved === null;
  if (saved === null) link.removeAttribute("href");
  else Object.assign(link, { href: saved.address, download: saved.name, textContent: `Save ${saved.name} again` });
}

function complain(message) {
  find("batch-error").hidden = message === null;
  find("batch-error").textContent = message ?? "";
}
