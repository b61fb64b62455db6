// What every page does beyond being read: keys, the value under the pointer, lines to copy.
"use strict";
const root = document.body.dataset.root;

const typing = e => e.target.closest("input, select, textarea") || e.ctrlKey || e.metaKey || e.altKey;

document.addEventListener("keydown", e => {
  if (e.key === "/" && !typing(e)) {
    e.preventDefault();
    const field = document.querySelector("#q, #go");
    if (field) { field.focus(); field.select(); } else location.href = root + "units.html#find";
  }
  if (typing(e) || e.target.closest(".scroll")) return;
  const step = { ArrowLeft: "prev", ArrowRight: "next" }[e.key];
  const link = step && document.querySelector(`a[rel=${step}]`);
  if (link) { e.preventDefault(); location.href = link.href; }
});

// The value of a square under the pointer, from the page's table of numbers.
const BOX = { left: 9, top: 8, cell: 10, size: 90, height: 89 };
function squareAt(board, event) {
  const box = board.getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width * BOX.size, y = (event.clientY - box.top) / box.height * BOX.height;
  const column = Math.floor((x - BOX.left) / BOX.cell), row = Math.floor((y - BOX.top) / BOX.cell);
  return column >= 0 && column < 8 && row >= 0 && row < 8 ? 8 * row + column : null;
}
const labelOf = s => "ABCDEFGH"[s >> 3] + s % 8;

// A line under a board that says what stands where the pointer is; a click leads to the square.
function tells(board, said) {
  const under = document.createElement("p");
  under.className = "under";
  board.after(under);
  board.addEventListener("pointermove", e => {
    const s = squareAt(board, e);
    under.textContent = s === null ? "" : said(s);
  });
  board.addEventListener("pointerleave", () => { under.textContent = ""; });
  board.addEventListener("click", e => {
    const s = squareAt(board, e);
    if (s !== null) location.href = `${root}squares/${labelOf(s)}.html`;
  });
}

const table = document.getElementById("squares");
for (const board of document.querySelectorAll("svg.board[data-column]")) {
  const heads = table ? [...table.tHead.rows[0].cells].map(c => c.dataset.column) : [];
  const column = heads.indexOf(board.dataset.column);
  tells(board, s => column < 0 ? "" : `${labelOf(s)} ${table.tBodies[0].rows[s].cells[column].textContent.trim()}`);
}

// A button beside each line that is to be copied.
function copier(code) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copier";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // not allowed here: it is selected instead
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  code.after(button);
}
for (const code of document.querySelectorAll("code.copy")) copier(code);
