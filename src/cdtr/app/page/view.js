// The canvas: an image under its heat map, and boxes over both.

const BOX = "#3cdc5a";
const PLATE = "#141414";

/** Draws what it is given; `show` takes a new image, the setters redraw at once. */
export class View {
  constructor(canvas, colours) {
    this.canvas = canvas;
    this.colours = colours;
    this.image = null;
    this.heat = null;
    this.opacity = 0;
    this.boxes = [];
    this.size = [0, 0];
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
  }

  /** image: what a canvas can draw. size: [width, height] of the source, in whose pixels boxes are. */
  show(image, size) {
    this.image = image;
    this.size = size;
    this.heat = null;
    this.boxes = [];
    this.canvas.hidden = false;
    this.draw();
  }

  setMap({ values, width, height }) {
    const pixels = new ImageData(width, height);
    for (let index = 0; index < values.length; index++) {
      const [red, green, blue] = this.colours[values[index]];
      pixels.data[4 * index] = red;
      pixels.data[4 * index + 1] = green;
      pixels.data[4 * index + 2] = blue;
      pixels.data[4 * index + 3] = 255;
    }
    this.heat = new OffscreenCanvas(width, height);
    this.heat.getContext("2d").putImageData(pixels, 0, 0);
    this.draw();
  }

  setOpacity(opacity) {
    this.opacity = opacity;
    this.draw();
  }

  /** boxes: [{xyxy, text}] */
  setBoxes(boxes) {
    this.boxes = boxes;
    this.draw();
  }

  draw() {
    if (this.image === null) return;
    const [width, height] = this.size;
    const room = this.canvas.parentElement.clientWidth;
    const most = Math.max(240, Math.min(window.innerHeight * (window.innerWidth > 860 ? 0.72 : 0.45), 900));
    const scale = Math.min(room / width, most / height);
    const ratio = window.devicePixelRatio || 1;
    const context = this.canvas.getContext("2d");
    this.canvas.width = Math.max(1, Math.round(width * scale * ratio));
    this.canvas.height = Math.max(1, Math.round(height * scale * ratio));
    this.canvas.style.width = `${width * scale}px`;
    this.canvas.style.height = `${height * scale}px`;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.image, 0, 0, this.canvas.width, this.canvas.height);
    if (this.heat !== null && this.opacity > 0) {
      context.globalAlpha = this.opacity;
      context.drawImage(this.heat, 0, 0, this.canvas.width, this.canvas.height);
      context.globalAlpha = 1;
    }
    const line = Math.max(2, 2.5 * ratio);
    for (const { xyxy } of this.boxes) this.#frame(context, xyxy, scale * ratio, line);
    for (const box of this.boxes) this.#label(context, box, scale * ratio, ratio);
  }

  #frame(context, [x0, y0, x1, y1], scale, line) {
    const place = [x0 * scale + line / 2, y0 * scale + line / 2, (x1 - x0) * scale - line, (y1 - y0) * scale - line];
    context.lineWidth = 2 * line;
    context.strokeStyle = "rgb(0 0 0 / 45%)";
    context.strokeRect(...place);
    context.lineWidth = line;
    context.strokeStyle = BOX;
    context.strokeRect(...place);
  }

  #label(context, { xyxy, text }, scale, ratio) {
    if (!text) return;
    context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    const width = context.measureText(text).width + 10 * ratio;
    const height = 20 * ratio;
    const x = Math.max(0, Math.min(xyxy[0] * scale, this.canvas.width - width));
    const above = xyxy[1] * scale - height;
    const y = above >= 0 ? above : Math.min(xyxy[1] * scale, this.canvas.height - height);
    context.fillStyle = PLATE;
    context.fillRect(x, y, width, height);
    context.fillStyle = "#ffffff";
    context.textBaseline = "middle";
    context.fillText(text, x + 5 * ratio, y + height / 2);
  }
}

/** The picture of a file as the server sees it, upright, or null where the browser cannot decode it. */
export async function decode(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    return null;
  }
}

/** A picture that the server sent as base64. */
export async function decodeBase64(encoded, type) {
  const bytes = Uint8Array.from(atob(encoded.base64), (letter) => letter.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type }), { colorSpaceConversion: "none" });
}

/** The grey values of a map that the server sent. */
export async function decodeMap(encoded) {
  const { width, height } = encoded;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(await decodeBase64(encoded, "image/png"), 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return { values: Uint8Array.from({ length: width * height }, (_, index) => data[4 * index]), width, height };
}
