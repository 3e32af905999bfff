"use strict";
{
  // Best first: the highest score or the lowest cost; a second press turns the order. Rows without a value stay last.
  const sortTable = (table, key, turn) => {
    const heads = [...table.tHead.rows[0].cells];
    const at = heads.findIndex((head) => head.dataset.key === key);
    if (at < 0) return;
    const best = "lower" in heads[at].dataset ? "ascending" : "descending";
    const other = best === "ascending" ? "descending" : "ascending";
    const order = turn && heads[at].getAttribute("aria-sort") === best ? other : best;
    const sign = order === "ascending" ? 1 : -1;
    const value = (row) => {
      const text = row.cells[at].dataset.value;
      return text === undefined ? null : Number(text);
    };
    const compare = (a, b) => {
      const first = value(a), second = value(b);
      if (first === null || second === null) return (first === null) - (second === null);
      return sign * (first - second);
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[at].setAttribute("aria-sort", order);
  };

  const tables = [...document.querySelectorAll("table.sorted")];
  for (const table of tables) {
    for (const head of table.tHead.rows[0].cells) {
      const button = head.querySelector("button");
      if (button) button.addEventListener("click", () => sortTable(table, head.dataset.key, true));
    }
  }

  const sort = document.getElementById("sort");
  sort.addEventListener("change", () => tables.forEach((table) => sortTable(table, sort.value, false)));

  const protocol = document.getElementById("protocol");
  const choose = () => {
    for (const part of document.querySelectorAll("section")) {
      const tablesOf = [...part.querySelectorAll("[data-protocol]")];
      const chosen = tablesOf.find((one) => one.dataset.protocol === protocol.value) || tablesOf[0];
      for (const one of tablesOf) one.hidden = one !== chosen;
    }
  };
  if (protocol) {
    protocol.addEventListener("change", choose);
    choose();
  }
  document.querySelector(".choices").hidden = false;
}
