"use strict";
// Sorts and filters tables, and shows the documents that match the filters, fifty at a time. Document content is only ever inserted as
// text.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (name) => document.getElementById(name);
const element = (tag, text, className) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = element("button", head.textContent);
    button.type = "button";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[column];
        return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
      };
      const rows = [...body.rows].map((row) => [key(row), row]);
      const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
      rows.sort(([a], [b]) => (down ? order(b, a) : order(a, b)));
      body.append(...rows.map(([, row]) => row));
    });
  });
  const label = element("label", "Find ", "find");
  const filter = element("input");
  filter.type = "search";
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  label.append(filter);
  table.before(label);
}

const STEP = 50;
const documents = data.documents;
for (const one of documents) {
  const parts = (one.parts ?? []).filter(([kind]) => kind !== "cut").map(([, content]) => content);
  one.haystack = [one.url, one.id, one.text, ...parts].join("\n").toLowerCase();
}
const controls = { kind: byId("kind"), stage: byId("stage"), reason: byId("reason"), search: byId("search") };
let matching = [];
let shown = 0;

const options = (select, values) => {
  const before = select.value;
  select.replaceChildren(select.options[0], ...[...new Set(values)].sort().map((value) => new Option(value, value)));
  select.value = [...select.options].some((option) => option.value === before) ? before : "";
};

// Words that must all occur in a document, "phrases", and -words that must not: as in search_query.py.
const searched = (asked) => {
  const terms = [...asked.matchAll(/(-?)(?:"([^"]+)"|(\S+))/g)].map((term) => [term[1], (term[2] ?? term[3]).toLowerCase()]);
  return { asked, wanted: terms.filter(([minus]) => !minus).map(([, term]) => term), unwanted: terms.filter(([minus]) => minus).map(([, term]) => term) };
};
let search = searched("");

const appendMarked = (to, text) => {
  const escaped = [...search.wanted].sort((a, b) => b.length - a.length).map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  if (!escaped.length) return to.append(text);
  text.split(new RegExp(`(${escaped.join("|")})`, "gi")).forEach((piece, number) => to.append(number % 2 ? element("mark", piece) : piece));
};

const matches = (one) =>
  (!controls.kind.value || (controls.kind.value === "near" ? one.near : one.kind === controls.kind.value)) &&
  (!controls.stage.value || one.stage === controls.stage.value) &&
  (!controls.reason.value || one.reason === controls.reason.value) &&
  search.wanted.every((term) => one.haystack.includes(term)) &&
  !search.unwanted.some((term) => one.haystack.includes(term));

const short = (value) => (Number.isInteger(value) ? value.toLocaleString("en") : Number(value).toPrecision(4));

const contents = (one) => {
  const box = element("div");
  const facts = [["id", one.id], ["detail", one.detail], ["characters", one.chars && short(one.chars)], ["left", one.chars_after && short(one.chars_after)]];
  for (const [name, value] of Object.entries(one.scores ?? {})) facts.push([name, short(value)]);
  box.append(element("p", facts.filter(([, value]) => value).map(([name, value]) => `${name} ${value}`).join(" · "), "soft"));
  const text = element("pre", undefined, "document");
  if (one.parts) {
    for (const [kind, content, rule] of one.parts) {
      const part = element({ gone: "del", new: "ins" }[kind] ?? "span");
      if (kind === "cut") part.className = "soft";
      if (kind === "cut") part.textContent = ` … ${content} … `;
      else appendMarked(part, content);
      if (rule) part.title = rule;
      text.append(part);
    }
  } else {
    appendMarked(text, one.text ?? "(no text on record)");
    if (one.chars > one.text?.length) text.append(element("span", ` … of ${short(one.chars)} characters`, "soft"));
  }
  box.append(text);
  return box;
};

const card = (one) => {
  const details = element("details");
  const summary = element("summary");
  const outcome = one.kind === "kept" && !one.near ? "kept" : `${one.kind}${one.near ? ", near the limit" : ""}: ${one.stage} / ${one.reason}`;
  summary.append(element("span", outcome, `outcome ${one.kind}`), ` ${one.url ?? one.id}`);
  if (one.value !== undefined && one.limit !== undefined) summary.append(element("span", ` ${short(one.value)}, limit ${short(one.limit)}`, "soft"));
  details.append(summary);
  details.addEventListener("toggle", () => details.children.length > 1 || details.append(contents(one)), { once: true });
  return details;
};

const more = () => {
  byId("documents").append(...matching.slice(shown, shown + STEP).map(card));
  shown = Math.min(matching.length, shown + STEP);
  byId("count").textContent = `${matching.length.toLocaleString("en")} of ${documents.length.toLocaleString("en")} documents`;
  byId("more").hidden = shown === matching.length;
};

const show = () => {
  search = searched(controls.search.value);
  matching = documents.filter(matches);
  shown = 0;
  byId("documents").replaceChildren();
  more();
};

const fillReasons = () => {
  const inStage = documents.filter((one) => !controls.stage.value || one.stage === controls.stage.value);
  options(controls.reason, inStage.map((one) => one.reason).filter(Boolean));
};

let waiting;
controls.search.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(show, 120);
});
for (const select of [controls.kind, controls.reason]) select.addEventListener("change", show);
controls.stage.addEventListener("change", () => {
  fillReasons();
  show();
});
byId("more").addEventListener("click", more);
for (const button of document.querySelectorAll("button[data-reason]")) {
  button.addEventListener("click", () => {
    controls.kind.value = button.dataset.kind;
    controls.stage.value = button.dataset.stage;
    fillReasons();
    controls.reason.value = button.dataset.reason;
    controls.search.value = "";
    show();
    byId("read").scrollIntoView();
    byId("documents").querySelector("summary")?.focus();
  });
}
options(controls.stage, documents.map((one) => one.stage).filter(Boolean));
fillReasons();
show();
