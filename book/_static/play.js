// Three decoders side by side, moved by two sliders. decoders.js, which book/decoders.py writes,
// holds them: layers of weights of 8 bits, the codes of test images, and ten of these images.
document.addEventListener("DOMContentLoaded", async () => {
  const SIDE = 28; // pixels
  const ALONG = 9; // images on the line
  const REACH = 3; // standard deviations, either way
  const COLORS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd",
    "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"]; // of the digits, on the map

  const root = document.getElementById("play");
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const originals = bytes(DECODERS.images);
  const models = await unpack();

  // Weights of all models lie one after the other; each layer takes its part.
  async function unpack() {
    const stream = new Blob([bytes(DECODERS.weights)]).stream();
    const buffer = await new Response(stream.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
    let start = 0;
    return Object.entries(DECODERS.models).map(([name, model]) => {
      for (const layer of model.layers) {
        layer.weights = new Int8Array(buffer, start, layer.inputs * layer.outputs);
        start += layer.weights.length;
      }
      return { name, ...model };
    });
  }

  // The image of a code: linear layers with ReLU between them, and a sigmoid.
  function decode(model, code) {
    return model.layers.reduce((values, { inputs, outputs, step, bias, weights }, number) => {
      const last = number === model.layers.length - 1;
      const out = new Float32Array(outputs);
      for (let i = 0; i < outputs; i++) {
        let sum = 0;
        for (let j = 0; j < inputs; j++) sum += weights[i * inputs + j] * values[j];
        const value = step * sum + bias[i];
        out[i] = last ? 1 / (1 + Math.exp(-value)) : Math.max(value, 0);
      }
      return out;
    }, code);
  }

  // The code that is so many standard deviations from the mean: of an image, or of the prior.
  function code(model, image, moved) {
    if (image === null) return moved;
    return moved.map((by, axis) => model.means[image][axis] + by * model.stddevs[image][axis]);
  }

  function paint(canvas, image, left = 0) {
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(SIDE, SIDE);
    image.forEach((value, k) => {
      pixels.data.fill(255 * value, 4 * k, 4 * k + 3);
      pixels.data[4 * k + 3] = 255;
    });
    context.putImageData(pixels, left, 0);
  }

  function map(canvas, model, here) {
    const context = canvas.getContext("2d");
    const place = ([x, y]) => [canvas.width * (x + 4) / 8, canvas.height * (4 - y) / 8];
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    model.codes.forEach((at, k) => {
      const [x, y] = place(at);
      context.fillStyle = COLORS[DECODERS.labels[k]];
      context.fillRect(x - 1.5, y - 1.5, 3, 3);
    });
    const [x, y] = place(here);
    context.lineWidth = 2;
    context.strokeStyle = "#000";
    context.beginPath();
    context.arc(x, y, 7, 0, 2 * Math.PI);
    context.moveTo(x - 12, y);
    context.lineTo(x + 12, y);
    context.moveTo(x, y - 12);
    context.lineTo(x, y + 12);
    context.stroke();
  }

  const origin = root.querySelector("select");
  const sliders = [...root.querySelectorAll("input[type=range]")];
  const panels = [...root.querySelectorAll("[data-model]")];
  const original = root.querySelector("canvas.original");
  const round = (value) => value.toFixed(2).replace("-", "−");

  function draw() {
    const image = origin.value === "" ? null : Number(origin.value);
    const moved = sliders.map((slider) => Number(slider.value));
    sliders.forEach((slider, k) => { slider.nextElementSibling.value = round(moved[k]); });
    const shown = image === null ? null
      : Array.from(originals.subarray(image * SIDE * SIDE, (image + 1) * SIDE * SIDE), (v) => v / 255);
    original.parentElement.hidden = shown === null;
    if (shown) paint(original, shown);
    for (const panel of panels) {
      const model = models.find(({ name }) => name === panel.dataset.model);
      const [large, line, plane] = panel.querySelectorAll("canvas");
      const here = code(model, image, moved);
      const decoded = decode(model, here);
      paint(large, decoded);
      for (let k = 0; k < ALONG; k++) {
        const first = REACH * (2 * k / (ALONG - 1) - 1);
        paint(line, decode(model, code(model, image, [first, moved[1]])), k * SIDE);
      }
      map(plane, model, here);
      const error = shown?.reduce((sum, value, k) => sum + (value - decoded[k]) ** 2, 0);
      panel.querySelector("output").value = `z = (${here.map(round).join(", ")})`
        + (shown ? `, squared error ${error.toFixed(0)}` : "");
    }
  }

  function move(...to) {
    sliders.forEach((slider, k) => { slider.value = to[k]; });
    draw();
  }

  origin.addEventListener("change", () => move(0, 0));
  sliders.forEach((slider) => slider.addEventListener("input", draw));
  root.querySelector("button.mean").addEventListener("click", () => move(0, 0));
  root.querySelector("button.beside").addEventListener("click", () => move(0.7, 0.7));
  root.hidden = false;
  draw();
});
