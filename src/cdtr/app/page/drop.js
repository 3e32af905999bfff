// What is dropped on the page.

/** Calls `take` with the files of each drop anywhere; `veil` covers the page while something is held over it. */
export function listenForDrops(veil, take) {
  let depth = 0; // entering a child fires before leaving its parent
  const move = (change) => {
    depth = Math.max(0, depth + change);
    veil.hidden = depth === 0;
  };
  addEventListener("dragenter", (event) => { event.preventDefault(); move(1); });
  addEventListener("dragleave", () => move(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", async (event) => {
    event.preventDefault();
    move(-depth);
    take(await droppedFiles(event.dataTransfer));
  });
}

/** Files of a drop, those of folders at any depth included. */
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.map(walk))).flat();
}

async function walk(entry) {
  if (entry.isFile) {
    const found = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.pathBelow = entry.fullPath.replace(/^\//, "");
    return [found];
  }
  const reader = entry.createReader();
  const below = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return (await Promise.all(below.map(walk))).flat();
    below.push(...some);
  }
}
