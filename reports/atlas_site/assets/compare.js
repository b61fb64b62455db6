// Two units side by side: figures, and boards on one scale. Boards come in chunks, as scripts beside the page.
"use strict";
const $ = id => document.getElementById(id);
const FIGURES = JSON.parse($("beside").dataset.figures);
const chunks = new Map(), SVG = "http://www.w3.org/2000/svg";
const rowOf = new Map(ATLAS.units.map((u, i) => [u.toLowerCase(), i]));

window.ATLAS_CHUNK = (number, units) => { chunks.get(number).done(units); };

function chunk(number) {
  if (!chunks.has(number)) {
    const entry = {};
    entry.loaded = new Promise((done, failed) => {
      entry.done = done;
      const script = document.createElement("script");
      script.src = `boards/${number}.js`;
      script.onerror = () => failed(new Error(`boards/${number}.js is missing`));
      document.head.append(script);
    });
    chunks.set(number, entry);
  }
  return chunks.get(number).loaded;
}

async function load(name) {
  const row = rowOf.get(name.trim().toLowerCase());
  const units = await chunk(Math.floor(row / ATLAS.chunk));
  return { name: ATLAS.units[row], ...units[ATLAS.units[row]] };
}

function el(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
function svg(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
const number = v => v === null || v === undefined ? "–" : (v < 0 ? "−" : "") + Math.abs(v);

function board(values, scale, title) {
  const best = values.map((v, s) => [v, s]).filter(([v]) => v).sort((a, b) => Math.abs(b[0]) - Math.abs(a[0])).slice(0, 3);
  const words = best.map(([v, s]) => `${labelOf(s)} ${number(v)}`).join(", ") || "nothing";
  const made = svg("svg", { class: "board", viewBox: "0 0 90 89", role: "img", "aria-label": `${title}: strongest ${words}`, "data-column": "" });
  made.append(svg("use", { href: "#grid" }));
  values.forEach((value, s) => {
    const x = 9 + 10 * (s % 8), y = 8 + 10 * (s >> 3), strength = value === null ? 0 : Math.round(10 * Math.abs(value) / scale);
    if (strength) made.append(svg("path", { class: value < 0 ? "n" : "p", "fill-opacity": strength / 10, d: `M${x} ${y}h10v10h-10z` }));
  });
  made.append(svg("use", { href: "#cells" }));
  const place = el("div");
  place.append(made, el("p", words, { class: "extremes" }));
  tells(made, s => `${labelOf(s)} ${number(values[s])}`);
  return place;
}

// Cosine of the two boards over the squares that both know.
function cosine(a, b) {
  let ab = 0, aa = 0, bb = 0;
  a.forEach((v, s) => { if (v !== null && b[s] !== null) { ab += v * b[s]; aa += v * v; bb += b[s] * b[s]; } });
  return aa && bb ? ab / Math.sqrt(aa * bb) : null;
}

function draw(one, two) {
  const place = $("beside"), units = [one, two];
  const table = el("table"), head = el("tr"), body = el("tbody");
  head.append(el("th", "figure", { scope: "col" }));
  for (const unit of units) {
    const cell = el("th", null, { scope: "col" });
    cell.append(el("a", unit.name, { href: `units/${unit.name}.html` }));
    head.append(cell);
  }
  const thead = el("thead");
  thead.append(head);
  for (const [key, words] of Object.entries(FIGURES)) {
    if (units.every(u => u.figures[key] === undefined)) continue;
    const row = el("tr");
    row.append(el("th", words, { scope: "row" }), ...units.map(u => el("td", number(u.figures[key]))));
    body.append(row);
  }
  table.append(thead, body);
  const said = el("div", null, { class: "two" });
  for (const unit of units) {
    const own = el("div");
    own.append(el("h2", unit.name), el("p", unit.headline, { class: "who" }));
    if (unit.rule) { const rule = el("p", null, { class: "who" }); rule.append(el("code", unit.rule)); own.append(rule); }
    said.append(own);
  }
  place.replaceChildren(said);
  for (const key of new Set(units.flatMap(u => Object.keys(u.boards)))) {
    const own = units.map(u => u.boards[key]), title = (own[0] ?? own[1])[0];
    const scale = Math.max(...own.flatMap(b => b ? b[1].map(v => Math.abs(v ?? 0)) : [])) || 1;
    const alike = own[0] && own[1] ? cosine(own[0][1], own[1][1]) : null;
    place.append(el("h3", title), el("p", `full colour ±${scale}` + (alike === null ? "" : `; cosine of the two boards ${number(+alike.toFixed(2))}`), { class: "same" }));
    const two = el("div", null, { class: "two" });
    two.append(...own.map((b, i) => b ? board(b[1], scale, `${units[i].name}, ${title}`) : el("p", "not known of it", { class: "note" })));
    place.append(two);
  }
  place.append(el("h3", "Figures"), table, python(units));
}

function python(units) {
  const made = el("details", null, { class: "code" }), summary = el("summary", "Python");
  const code = el("code", `[questions.unit(atlas, unit) for unit in (${units.map(u => JSON.stringify(u.name)).join(", ")})]`, { class: "copy" });
  summary.append(el("span", " for the two units", { class: "hidden" }));
  made.append(summary, code);
  copier(code);
  return made;
}

const untold = document.title;
let asked = 0;
async function show() {
  const state = new URLSearchParams(location.hash.slice(1)), own = ++asked;
  $("a").value = state.get("a") ?? "";
  $("b").value = state.get("b") ?? "";
  $("said").textContent = "";
  const given = ["a", "b"].map(id => $(id).value.trim()).filter(Boolean);
  const absent = given.find(name => !rowOf.has(name.toLowerCase()));
  if (given.length < 2 || absent) {
    $("said").textContent = absent ? `${absent} is no unit of this atlas` : given.length ? `${given[0]} and which other?` : "Name two units, such as L0N5 and L1N7.";
    $("beside").replaceChildren();
    document.title = untold;
    return;
  }
  try {
    const found = await Promise.all([load($("a").value), load($("b").value)]);
    if (own === asked) { draw(...found); document.title = `${found[0].name} and ${found[1].name}`; }
  } catch (error) {
    if (own === asked) { $("beside").replaceChildren(); $("said").textContent = error.message; }
  }
}
$("two").addEventListener("submit", e => {
  e.preventDefault();
  const hash = "#" + new URLSearchParams({ a: $("a").value.trim(), b: $("b").value.trim() });
  if (hash === location.hash) show(); else location.hash = hash;
});
addEventListener("hashchange", show);
$("two").hidden = false;
show();
