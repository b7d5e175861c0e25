/* Tables that sort by column, and the scorecard's filter. Plain script, loaded only where a page has such a table. */
(function () {
  "use strict";

  // Sorting ------------------------------------------------------------------------------------------------------

  // A verdict's place is that of its button, a number is a number, anything else is text; empty cells come last.
  const verdictOrder = Array.from(document.querySelectorAll(".filter-verdicts button"), (button) => button.dataset.verdict);

  function key(row, column, original) {
    const cell = row.cells[column];
    const chip = cell.querySelector(".verdict-chip");
    if (chip) return verdictOrder.findIndex((verdict) => chip.classList.contains("verdict-" + verdict));
    if (column === 0 && row.classList.contains("claim")) return original.indexOf(row); // claims have the paper's order
    const text = cell.textContent.trim();
    if (!text || /^[–-]/.test(text)) return null;
    const number = /^[\d.]+/.exec(text);
    return number ? parseFloat(number[0]) : text.toLowerCase();
  }

  function compare(a, b, direction) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return direction * (typeof a === "number" ? a - b : a.localeCompare(b));
  }

  function sortable(table, changed) {
    const heads = Array.from(table.tHead.rows[0].cells);
    const body = table.tBodies[0];
    const original = Array.from(body.rows);
    const state = { column: -1, direction: 1 };

    function sort(column, direction) {
      Object.assign(state, { column, direction });
      heads.forEach((head, index) => {
        if (index === column) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        else head.removeAttribute("aria-sort");
      });
      const keyed = original.map((row, index) => [column < 0 ? index : key(row, column, original), row]);
      keyed.sort((a, b) => compare(a[0], b[0], direction));
      body.append(...keyed.map((pair) => pair[1]));
    }

    heads.forEach((head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort-button";
      button.append(...head.querySelector("p").childNodes);
      head.querySelector("p").append(button);
      head.scope = "col";
      button.addEventListener("click", () => {
        if (state.column !== index) sort(index, 1);
        else if (state.direction > 0) sort(index, -1);
        else sort(-1, 1); // the third press brings the table's own order back
        if (changed) changed();
      });
    });
    return { state, sort, names: heads.map((head) => head.textContent.trim().toLowerCase().replace(/\W+/g, "-")) };
  }

  // The scorecard's filter ---------------------------------------------------------------------------------------

  function scorecard(table, form) {
    const rows = Array.from(table.tBodies[0].rows);
    const input = form.querySelector("input");
    const buttons = Array.from(form.querySelectorAll("[data-verdict]"));
    const status = form.querySelector("[role=status]");
    const reset = form.querySelector("[type=reset]");
    const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    const sorting = sortable(table, remember);

    const wanted = () => buttons.filter((button) => button.ariaPressed === "true").map((button) => button.dataset.verdict);

    function apply() {
      const verdicts = wanted();
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const fits =
          (!verdicts.length || verdicts.some((verdict) => row.classList.contains("row-" + verdict))) &&
          words.every((word) => texts.get(row).includes(word));
        row.hidden = !fits;
        shown += fits;
      }
      status.textContent = shown === rows.length ? `All ${rows.length} rows` : `${shown} of ${rows.length} rows`;
      reset.hidden = shown === rows.length && !words.length && !verdicts.length;
    }

    function remember() {
      const state = new URLSearchParams();
      if (wanted().length) state.set("verdict", wanted().join("."));
      if (input.value.trim()) state.set("text", input.value.trim());
      if (sorting.state.column >= 0) {
        state.set("sort", sorting.names[sorting.state.column] + (sorting.state.direction < 0 ? ".down" : ""));
      }
      const hash = state.toString();
      history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search);
    }

    // The address names a row, #claim-T1, or a verdict, #only-reproduced, or a state, #verdict=reproduced&sort=claim.down
    function restore() {
      const hash = decodeURIComponent(location.hash.slice(1));
      const state = new URLSearchParams(hash.includes("=") ? location.hash.slice(1) : "");
      const one = hash.startsWith("only-") ? hash.slice("only-".length) : "";
      const verdicts = (state.get("verdict") || one).split(".");
      buttons.forEach((button) => (button.ariaPressed = String(verdicts.includes(button.dataset.verdict))));
      input.value = state.get("text") || "";
      const [name, direction] = (state.get("sort") || "").split(".");
      sorting.sort(sorting.names.indexOf(name), direction === "down" ? -1 : 1);
      apply();
      const row = hash && !hash.includes("=") && document.getElementById(hash);
      if (one) form.scrollIntoView({ block: "center" });
      else if (row && table.contains(row)) row.scrollIntoView();
    }

    function change() {
      apply();
      remember();
    }

    buttons.forEach((button) =>
      button.addEventListener("click", () => {
        button.ariaPressed = String(button.ariaPressed !== "true");
        change();
      })
    );
    input.addEventListener("input", change);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      buttons.forEach((button) => (button.ariaPressed = "false"));
      input.value = "";
      change();
      input.focus(); // the button that was pressed is gone
    });
    window.addEventListener("hashchange", restore);
    form.hidden = false;
    restore();
  }

  document.querySelectorAll("table.sortable").forEach((table) => {
    const form = document.querySelector(".table-filter");
    if (form && table.classList.contains("scorecard")) scorecard(table, form);
    else sortable(table);
  });
})();
