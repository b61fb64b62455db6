// The list of all units: searched while typing, filtered, sorted; the state is in the address.
"use strict";
const $ = id => document.getElementById(id);
const C = ATLAS.columns, N = ATLAS.units.length, PAGE = 100;
const FIELDS = ["q", "kind", "layer", "status", "role", "by", "min"];
const known = new Set(ATLAS.units.map(u => u.toLowerCase()));
let shown = PAGE, square = "", order = [], here = -1;
let strange = []; // what the address asks for that is not there

const isHead = ATLAS.units.map(u => u.includes("H"));
const hay = ATLAS.units.map((u, i) => [u, C.status[i], C.rule[i], C.fact[i], C.roles[i], C.head[i] && `head ${C.head[i]}`,
  C.raises[i] && `raises ${C.raises[i]}`, C.lowers[i] && `lowers ${C.lowers[i]}`, C.separates[i] && `separates ${C.separates[i]}`,
  C.blurs[i] && `blurs ${C.blurs[i]}`, C.square[i] && `state of ${C.square[i]}`]
  .filter(Boolean).join("\n").toLowerCase());

// three digits; the columns have more, so that "at least" means what it says
const short = v => String(Math.abs(v) < 1e-6 && v ? Number(v.toPrecision(2)).toExponential(1) : Number(Math.abs(v).toPrecision(3)));
const number = (v, sign) => v === null || v === undefined ? "–" : (v < 0 ? "−" : sign && v > 0 ? "+" : "") + short(Math.abs(v));

function el(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// "quoted words" belong together; every piece has to be there; a unit's whole name comes first
function pieces(text) {
  return [...text.toLowerCase().matchAll(/"([^"]*)"?|(\S+)/g)].map(m => (m[1] ?? m[2]).trim()).filter(Boolean);
}

function find() {
  const wanted = pieces($("q").value), kind = $("kind").value, layer = $("layer").value, status = $("status").value;
  const role = $("role").value, by = $("by").value, least = $("min").value === "" ? null : +$("min").value;
  const values = by ? C[by] : null, found = [];
  for (let i = 0; i < N; i++) {
    if (kind && isHead[i] !== (kind === "head")) continue;
    if (layer !== "" && ATLAS.layer[i] !== +layer) continue;
    if (status && C.status[i] !== status) continue;
    if (role && !(role.startsWith("head: ") ? C.head[i] === role.slice(6) : (C.roles[i] || "").split(", ").includes(role))) continue;
    if (values && least !== null && (values[i] === null || values[i] < least)) continue;
    const own = hay[i];
    if (wanted.every(w => own.includes(w))) found.push(i);
  }
  // those without a value come last
  if (values) found.sort((a, b) => (values[a] === null) - (values[b] === null) || values[b] - values[a] || a - b);
  const exact = wanted.length === 1 ? ATLAS.units.findIndex(u => u.toLowerCase() === wanted[0]) : -1;
  if (exact >= 0 && found.includes(exact)) { found.splice(found.indexOf(exact), 1); found.unshift(exact); }
  return found;
}

function row(i) {
  const made = el("tr"), name = el("th", null, { scope: "row" });
  name.append(el("a", ATLAS.units[i], { href: `units/${ATLAS.units[i]}.html` }));
  const what = el("td", null, { class: "text" });
  what.append(el("span", C.status[i] || (isHead[i] ? `head${C.head[i] ? ", " + C.head[i] : ""}` : "neuron"), { class: "tag" }));
  what.append(C.rule[i] || C.fact[i] || (C.share[i] !== null ? `tells ${number(C.share[i])} of mine and theirs` : ""));
  const skill = C.skill[i] === null ? "–" : number(C.skill[i]);
  made.append(name, what, el("td", number(C.r2[i])), el("td", skill), el("td", number(C.kl[i])),
    el("td", C.raises[i] ? `${C.raises[i]} ${number(C.logit[i], true)}` : "–"),
    el("td", C.separates[i] ? `${C.separates[i]} ${number(C.gap[i], true)}` : "–"));
  return made;
}

function draw() {
  order = find();
  const rows = order.slice(0, shown).map(row), body = $("list").tBodies[0];
  body.replaceChildren(...rows);
  here = -1;
  const by = $("by").value;
  const name = $("q").value.trim();
  $("count").textContent = (strange.length ? `${strange.join(" and ")} in the address mean${strange.length > 1 ? "" : "s"} nothing here. ` : "") + `${order.length.toLocaleString("en")} of ${N.toLocaleString("en")} units`
    + (/^l\d+[nh]\d+$/i.test(name) && !known.has(name.toLowerCase()) ? `; ${name} is no unit of this atlas` : "")
    + (by ? `, by ${$("by").selectedOptions[0].text}, highest first` : "");
  $("more").hidden = order.length <= shown;
  for (const button of document.querySelectorAll("#list thead button")) button.setAttribute("aria-pressed", button.dataset.by === by);
  $("min").disabled = !by;
}

function ask(name) {
  for (const link of document.querySelectorAll(".picker a")) {
    if (link.dataset.square === name) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
  }
  const place = $("asked");
  place.replaceChildren();
  const found = SQUARES[name];
  if (!found) return;
  $("ask").open = true;
  const head = el("p");
  head.append(el("b", name), " ", el("a", "all figures", { href: `squares/${name}.html` }), " ");
  const clear = el("button", "clear", { type: "button" });
  clear.addEventListener("click", () => { square = ""; remember(true); ask(""); });
  head.append(clear);
  place.append(head);
  for (const [key, title] of [["reads", "Who reads it"], ["writes", "Who writes it"], ["separate-legal", "Who makes it legal: lifts it where it is legal"],
    ["separate-illegal", "Who makes it legal: lowers it where it is not"], ["blur-legal", "Who works against that: lowers it where it is legal"],
    ["blur-illegal", "Who works against that: lifts it where it is not"], ["legal", "Who is on where it is legal"]]) {
    place.append(el("h2", title));
    if (!found[key].length) { place.append(el("p", "no one known", { class: "note" })); continue; }
    const table = el("table", null, { class: "plain" }), body = el("tbody");
    for (const [unit, figure, what] of found[key]) {
      const own = el("tr"), name = el("th", null, { scope: "row" });
      name.append(el("a", unit, { href: `units/${unit}.html` }));
      own.append(name, el("td", figure), el("td", what, { class: "text" }));
      body.append(own);
    }
    table.append(body);
    place.append(table);
  }
}

// The address: what differs from nothing asked.
function remember(step) {
  const state = new URLSearchParams();
  for (const id of FIELDS) if ($(id).value !== "") state.set(id, $(id).value);
  if (square) state.set("square", square);
  const hash = "#" + state;
  if (hash === location.hash || (hash === "#" && !location.hash)) return;
  history[step ? "pushState" : "replaceState"](null, "", hash === "#" ? location.pathname : hash);
}

function recall() {
  const from = location.hash.length > 1 && location.hash !== "#find" ? location.hash.slice(1) : location.search.slice(1);
  const state = new URLSearchParams(from);
  if (/^\w+$/.test(from) && from !== "find") state.set("q", from); // units.html#L2N77
  strange = [];
  for (const id of FIELDS) {
    const given = state.get(id) ?? "";
    $(id).value = given;
    if ($(id).value !== given) { $(id).value = ""; strange.push(`${id}=${given}`); }
  }
  square = state.get("square") ?? "";
  if (square && !Object.hasOwn(SQUARES, square)) { strange.push(`square=${square}`); square = ""; }
  shown = PAGE;
  draw();
  ask(square);
  if (location.hash === "#find") $("q").focus();
}

function mark(to) {
  const rows = $("list").tBodies[0].rows;
  if (!rows.length) return;
  rows[here]?.classList.remove("here");
  here = Math.max(0, Math.min(rows.length - 1, to));
  rows[here].classList.add("here");
  rows[here].querySelector("a").focus();
}

function changed(step) { shown = PAGE; strange = []; draw(); remember(step); }
$("q").addEventListener("input", () => changed(false));
$("min").addEventListener("input", () => changed(false));
for (const id of ["kind", "layer", "status", "role", "by"]) {
  $(id).addEventListener("change", () => changed(true));
}
$("filters").addEventListener("submit", e => { e.preventDefault(); if (order.length) location.href = `units/${ATLAS.units[order[0]]}.html`; });
for (const button of document.querySelectorAll("#list thead button")) {
  button.addEventListener("click", () => { $("by").value = button.dataset.by; changed(true); });
}
$("more").addEventListener("click", () => { shown += 5 * PAGE; draw(); });
document.querySelector(".picker").addEventListener("click", e => {
  const link = e.target.closest("a[data-square]");
  if (!link || e.ctrlKey || e.metaKey || e.shiftKey) return;
  e.preventDefault();
  square = link.dataset.square === square ? "" : link.dataset.square;
  remember(true);
  ask(square);
});
document.addEventListener("keydown", e => {
  if (e.key !== "ArrowDown" && e.key !== "ArrowUp") return;
  if (e.target.closest("select, input[type=number]") || !(e.target === document.body || e.target.closest("#q, #list"))) return;
  e.preventDefault();
  const at = [...$("list").tBodies[0].rows].indexOf(e.target.closest("tr"));
  if (e.key === "ArrowUp" && at === 0) $("q").focus(); else mark(at + (e.key === "ArrowDown" ? 1 : -1));
});
addEventListener("popstate", recall);
addEventListener("hashchange", recall);
document.querySelector(".finder").hidden = false;
$("ask").open = innerWidth >= 1000;
recall();
