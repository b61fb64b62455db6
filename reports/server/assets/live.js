// Clicks answered in place. Every page is the server's, and works without this: here only the part in #live is put
// in, the address kept in step, and the list of units asked for afterwards.
"use strict";
let asking = null, listing = null;
const by = id => document.getElementById(id);
const names = text => text.split(/[\s,;]+/).filter(Boolean);
const boxes = () => [...document.querySelectorAll("input[name=unit]")];

async function page(url, signal) {
  const answer = await fetch(url, { signal });
  const made = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!made.getElementById("live")) throw new Error(`${url} is no live page`);
  return made;
}

async function show(url, remember) {
  if (asking) asking.abort();
  if (listing) listing.abort();
  const own = asking = new AbortController();
  by("live").setAttribute("aria-busy", "true");
  try {
    const made = await page(url, own.signal);
    const focus = document.activeElement && document.activeElement.id;
    by("live").replaceWith(document.importNode(made.getElementById("live"), true));
    document.title = made.title;
    if (remember) history.pushState(null, "", url);
    // A square that was played is none to play any more: the keyboard stays at the board.
    const next = (focus && by(focus)) || (focus && focus.startsWith("play-") && document.querySelector("svg a"));
    if (next) next.focus({ preventScroll: true });
    const said = document.querySelector("[data-headline], [data-error]");
    by("said").textContent = said ? said.textContent : "";
    later();
  } catch (error) {
    if (error.name !== "AbortError") location.href = url;
  }
}

// The units are listed as soon as their explanation is there.
async function later() {
  const slot = document.querySelector("[data-later]");
  if (!slot) return;
  const own = listing = new AbortController();
  try {
    const made = await page(slot.dataset.later, own.signal);
    const found = made.getElementById("units");
    if (!found || !slot.isConnected) return;
    slot.replaceWith(document.importNode(found, true));
    // A unit that has a box now is named by its box.
    const boxed = new Set(boxes().map(box => box.value));
    const field = by("without");
    if (field !== document.activeElement) field.value = names(field.value).filter(n => !boxed.has(n.toUpperCase())).join(" ");
  } catch (error) {
    if (error.name !== "AbortError") console.warn(error.message);
  }
}

function asked(form) {
  const query = new URLSearchParams();
  const units = names(form.elements.without.value).map(n => n.toUpperCase());
  for (const box of boxes()) if (box.checked) units.push(box.value);
  const fields = { moves: form.elements.moves.value.trim(), without: [...new Set(units)].join(" ") };
  for (const name of ["move", "point", "notation"]) fields[name] = form.elements[name] ? form.elements[name].value : "";
  if (fields.notation === "ours") fields.notation = "";
  for (const [name, value] of Object.entries(fields)) if (value) query.set(name, value);
  const text = query.toString();
  return text ? `/?${text}` : "/";
}

document.addEventListener("submit", e => {
  if (e.target.id !== "ask") return;
  e.preventDefault();
  show(asked(e.target), true);
});
document.addEventListener("change", e => {
  const field = e.target;
  if (field.matches("input[name=unit]")) {
    // The same unit may stand in the field too: what was clicked last holds.
    const text = by("without");
    text.value = names(text.value).filter(n => n.toUpperCase() !== field.value).join(" ");
    for (const box of boxes()) if (box.value === field.value) box.checked = field.checked;
  }
  if (field.matches("input[name=unit], [data-at-once]")) show(asked(by("ask")), true);
});
document.addEventListener("click", e => {
  const link = e.target.closest("a[data-live]");
  if (!link || e.ctrlKey || e.metaKey || e.shiftKey || e.button) return;
  e.preventDefault();
  show(link.getAttribute("href"), true);
});
addEventListener("popstate", () => show(location.pathname + location.search, false));
later();
