// The map of the model: the neuron under the pointer, and its page at a click.
"use strict";
const line = document.getElementById("under");
for (const layer of document.querySelectorAll("svg.layer")) {
  const depth = +layer.dataset.depth, neurons = +layer.dataset.neurons, width = Math.ceil(neurons / depth);
  const at = e => {
    const box = layer.getBoundingClientRect();
    const column = Math.floor((e.clientX - box.left) / box.width * width);
    const row = Math.floor((e.clientY - box.top) / box.height * depth);
    const n = column * depth + row;
    return column >= 0 && row >= 0 && row < depth && n < neurons ? n : null;
  };
  const units = layer.dataset.units.split(" "); // where the atlas has not all of a layer
  const unit = n => `L${layer.dataset.layer}N${units.length > 1 || units[0] ? units[n] : n}`;
  layer.addEventListener("pointermove", e => { const n = at(e); line.textContent = n === null ? "" : unit(n); });
  layer.addEventListener("pointerleave", () => { line.textContent = ""; });
  layer.addEventListener("click", e => { const n = at(e); if (n !== null) location.href = `units/${unit(n)}.html`; });
}
