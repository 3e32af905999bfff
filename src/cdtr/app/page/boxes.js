// Boxes in an 8-bit map, pixel for pixel those of cdtr/localization/boxes.py, so that a slider need not ask the server.

const STEPS = [[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]]; // clockwise from the east

/** The half-open box [x0, y0, x1, y1] of the region whose outline encloses most, in a list; none without foreground. */
export function largestBox(map, width, height, threshold) {
  const { regions, labels } = findRegions(map, width, height, threshold);
  let best = null;
  for (const region of regions) {
    region.outline = outlineArea(labels, width, height, region);
    // Of equals the one that starts last, which OpenCV lists first.
    if (best === null || region.outline >= best.outline) best = region;
  }
  return best === null ? [] : [best.box];
}

/** Boxes of all regions of at least `share` of the map's pixels, the largest first. */
export function regionBoxes(map, width, height, threshold, share) {
  const { regions } = findRegions(map, width, height, threshold);
  return regions
    .filter((region) => region.pixels >= share * width * height)
    .sort((a, b) => b.pixels - a.pixels || boxArea(b.box) - boxArea(a.box))
    .map((region) => region.box);
}

function boxArea([x0, y0, x1, y1]) {
  return (x1 - x0) * (y1 - y0);
}

/** 8-connected regions above the threshold in the order of their first pixels, and the region's number at each pixel. */
function findRegions(map, width, height, threshold) {
  let most = 0;
  for (const value of map) most = Math.max(most, value);
  const level = Math.trunc(threshold * most);
  const labels = new Int32Array(width * height);
  const stack = new Int32Array(width * height);
  const regions = [];
  for (let start = 0; start < map.length; start++) {
    if (map[start] <= level || labels[start]) continue;
    const number = regions.length + 1;
    const box = [width, height, 0, 0];
    let pixels = 0;
    let waiting = 0;
    stack[waiting++] = start;
    labels[start] = number;
    while (waiting) {
      const index = stack[--waiting];
      const x = index % width;
      const y = (index - x) / width;
      pixels++;
      if (x < box[0]) box[0] = x;
      if (y < box[1]) box[1] = y;
      if (x >= box[2]) box[2] = x + 1;
      if (y >= box[3]) box[3] = y + 1;
      for (let j = Math.max(y - 1, 0); j <= Math.min(y + 1, height - 1); j++) {
        for (let i = Math.max(x - 1, 0); i <= Math.min(x + 1, width - 1); i++) {
          const next = j * width + i;
          if (map[next] > level && !labels[next]) {
            labels[next] = number;
            stack[waiting++] = next;
          }
        }
      }
    }
    regions.push({ number, start, pixels, box });
  }
  return { regions, labels };
}

/** The area inside the line through the centres of a region's outer pixels, followed as Suzuki and Abe 1985 do. */
function outlineArea(labels, width, height, { number, start }) {
  const belongs = (x, y) => x >= 0 && y >= 0 && x < width && y < height && labels[y * width + x] === number;
  const startX = start % width;
  const startY = (start - startX) / width;
  let direction = -1; // to the first neighbour, clockwise from the west, where the start has none
  for (let turn = 5; turn < 12 && direction < 0; turn++) {
    if (belongs(startX + STEPS[turn % 8][0], startY + STEPS[turn % 8][1])) direction = turn % 8;
  }
  if (direction < 0) return 0;
  const lastX = startX + STEPS[direction][0];
  const lastY = startY + STEPS[direction][1];
  let x = startX;
  let y = startY;
  let doubled = 0;
  for (;;) {
    let turn = 1;
    while (!belongs(x + STEPS[(direction + 8 - turn) % 8][0], y + STEPS[(direction + 8 - turn) % 8][1])) turn++;
    const way = (direction + 8 - turn) % 8;
    const nextX = x + STEPS[way][0];
    const nextY = y + STEPS[way][1];
    doubled += x * nextY - nextX * y;
    if (nextX === startX && nextY === startY && x === lastX && y === lastY) return Math.abs(doubled) / 2;
    direction = (way + 4) % 8;
    x = nextX;
    y = nextY;
  }
}
