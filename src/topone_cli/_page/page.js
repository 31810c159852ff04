"use strict";

// Every text of the server becomes a text node, never markup.
const element = (id) => document.getElementById(id);

function row(cells, heads, unsure) {
  const tr = document.createElement("tr");
  if (unsure) tr.className = "unsure";
  cells.forEach((cell, n) => {
    const td = document.createElement("td");
    td.className = heads[n].className;
    td.dataset.name = heads[n].textContent;
    td.textContent = cell;
    tr.append(td);
  });
  return tr;
}

function fill(id, rows) {
  const table = element(id);
  const heads = table.tHead.rows[0].cells;
  table.tBodies[0].replaceChildren(...rows.map((each) => row(each.cells, heads, each.unsure)));
}

function head(id, text, known) {
  const title = element(id);
  title.textContent = known === undefined ? text : text + " ";
  if (known === undefined) return;
  const mark = document.createElement("span");
  mark.className = known.split(" ")[0];
  mark.textContent = known;
  title.append(mark);
}

function line(each) {
  const li = document.createElement("li");
  const time = document.createElement("time");
  const name = document.createElement("b");
  time.textContent = each[0];
  name.textContent = each[1];
  li.append(time, name, each[2]);
  return li;
}

function show(now) {
  document.title = now.title;
  element("title").textContent = now.title;
  const state = element("state");
  state.textContent = now.state_words;
  state.className = now.state;
  element("facts").textContent = now.facts.join(" · ");
  head("balances-title", "Balances,", now.balances.known);
  fill("balances", now.balances.rows);
  const orders = now.open;
  const count = orders.rows.length < orders.total ? `${orders.rows.length} of ${orders.total}` : orders.total;
  head("open-title", `Open orders: ${count},`, orders.known);
  fill("open", orders.rows);
  fill("fills", now.fills);
  fill("closed", now.closed);
  const log = element("log");
  log.replaceChildren(...now.log.map(line));
}

function gone(is_gone) {
  element("gone").hidden = !is_gone;
  document.body.classList.toggle("gone", is_gone);
}

let heard = Date.now();
const source = new EventSource("events");
source.onmessage = (event) => {
  heard = Date.now();
  gone(false);
  show(JSON.parse(event.data));
};
source.addEventListener("alive", () => { heard = Date.now(); gone(false); });
source.onerror = () => gone(true);
// A connection can be dead without a word.
setInterval(() => { if (Date.now() - heard > 15000) gone(true); }, 1000);
