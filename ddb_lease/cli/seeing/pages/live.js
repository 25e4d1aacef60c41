"use strict";
// Asks for the last picture and shows it. All text of others is set as textContent: none of it becomes markup.
(() => {
  const by = (id) => document.getElementById(id);
  const MOST_CELLS = 64, MOST_ROWS = 12;
  let told = null, received = 0, failed = "";

  const make = (tag, kind, ...parts) => {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    made.append(...parts);
    return made;
  };
  const lasting = (seconds) => {
    const s = Math.max(0, Math.floor(seconds)), m = Math.floor(s / 60), h = Math.floor(s / 3600);
    const two = (number) => String(number).padStart(2, "0");  // as the terminal has them
    if (s < 60) return `${s}s`;
    if (s < 3600) return `${m}m${s % 60 ? `${two(s % 60)}s` : ""}`;
    return h < 48 ? `${h}h${m % 60 ? `${two(m % 60)}m` : ""}` : `${Math.floor(h / 24)}d`;
  };
  // A time that goes on between two pictures: up if it is an age, down if it is what is left.
  const ticking = (tag, kind, seconds, way) => {
    const made = make(tag, kind);
    made.dataset.seconds = seconds;
    made.dataset.way = way;
    return made;
  };
  const tick = () => {
    const gone = (performance.now() - received) / 1000;
    for (const one of document.querySelectorAll("[data-seconds]")) {
      const now = Number(one.dataset.seconds) + Number(one.dataset.way) * gone;
      one.textContent = one.dataset.way === "-1" && now <= 0 ? "expired" : lasting(now);
    }
    if (!told) return;
    const age = told.age + gone, late = age > 3 * told.interval + 5;
    document.body.classList.toggle("stale", Boolean(failed || told.error || late));
    by("state").textContent = age < 2 ? "now" : `${lasting(age)} ago`;
    const trouble = failed || told.error || (late ? "Nothing new has come." : "");
    by("trouble").hidden = !trouble;
    by("trouble").textContent = trouble ? `${trouble.replace(/\.?$/, ".")} This picture is ${lasting(age)} old.` : "";
  };
  const table = (columns, rows) => {
    const made = make("table", "");
    made.append(make("colgroup", "", ...columns.map(([, kind]) => make("col", kind))));
    made.append(make("thead", "", make("tr", "", ...columns.map(([name, , n]) => make("th", n ? "n" : "", name)))));
    made.append(make("tbody", "", ...rows.map((cells) => make("tr", "", ...cells))));
    return made;
  };
  const cells = (bucket) => {
    if (bucket.max > MOST_CELLS || bucket.kind === "window") {
      const bar = make("div", "");
      bar.style.width = `${Math.min(100, (100 * bucket.used) / Math.max(1, bucket.max))}%`;
      return make("div", "meter", bar);
    }
    const held = new Map(bucket.cells.map(([slot, expired, retired]) => [slot, [expired, retired]]));
    const all = new Set([...Array(bucket.max).keys(), ...held.keys()]);
    return make("div", "cells", ...[...all].sort((a, b) => a - b).map((slot) => {
      const [expired, retired] = held.get(slot) || [];
      const cell = make("span", `cell${held.has(slot) ? (expired ? " gone" : " used") : ""}${retired ? " retired" : ""}`);
      cell.title = `slot ${slot}`;
      return cell;
    }));
  };
  const more = (count) => (count > 0 ? [make("p", "soft", `and ${count} more`)] : []);
  // An owner, of which the end stays where there is no room: a host's name is long, and its processes differ there.
  const owner = (text) => {
    const parts = Array.from(text), cut = parts.length > 16 ? parts.length - 8 : parts.length;
    const made = make("td", "", make("div", "owner", make("span", "", parts.slice(0, cut).join("")),
      make("span", "", parts.slice(cut).join(""))));
    made.title = text;
    return made;
  };
  const named = (tag, kind, text) => { const made = make(tag, kind, text); made.title = text; return made; };
  const card = (bucket) => {
    const made = make("article", "", make("div", "top", named("h2", "", bucket.name),
      make("div", "figure", `${bucket.used} `, make("small", "", `of ${bucket.max} leased`))), cells(bucket));
    made.setAttribute("aria-label", `${bucket.name}: ${bucket.used} of ${bucket.max} leased`);
    if (bucket.waiting) made.append(make("div", "waits", `${bucket.waiting} waiting`));
    if (bucket.holders.length) {
      made.append(table([["slot", "slot"], ["holder", ""], ["held", "time", 1], ["left", "time", 1]],
        bucket.holders.slice(0, MOST_ROWS).map((one) => [
          make("td", "", `${one.slot}`),
          owner((one.revoked ? "revoked: " : "") + (one.retired ? "retired: " : "") + (one.closed ? "closed by " : "") + one.owner),
          ticking("td", "n", one.age, 1), ticking("td", "n", one.left, -1)])));
      made.append(...more(bucket.held - Math.min(bucket.holders.length, MOST_ROWS)));
    }
    if (bucket.queue.length) {
      made.append(make("h3", "", "Queue"));
      made.append(table([["place", "slot"], ["waiter", ""], ["waits", "time", 1], ["wants", "slot", 1], ["priority", "time", 1]],
        bucket.queue.slice(0, MOST_ROWS).map((one) => [
          make("td", "", `${one.place}`), owner(one.owner), ticking("td", "n", one.waited, 1),
          make("td", "n", `${one.count}`), make("td", "n", `${one.priority}`)])));
      made.append(...more(bucket.waiting - Math.min(bucket.queue.length, MOST_ROWS)));
    }
    return made;
  };
  const rate = (one) => {
    const made = make("article", "");
    const figure = one.available === null ? make("div", "figure", make("small", "", `${one.keys} keys`)) :
      make("div", "figure", `${one.available} `, make("small", "", `of ${one.burst} left`));
    made.append(make("div", "top", named("h2", "", one.name), figure));
    if (one.available !== null) {
      const bar = make("div", "");
      bar.style.width = `${Math.min(100, (100 * one.available) / one.burst)}%`;
      made.append(make("div", "meter", bar));
    }
    made.append(make("div", "soft", one.limits));
    if (one.blocked) made.append(make("div", "bad", one.keys ? `${one.blocked} keys are blocked` : "blocked"));
    return made;
  };
  const show = () => {
    document.title = by("title").textContent = told.table;
    const empty = told.buckets.length + told.rates.length ? [] : [make("p", "soft", "No bucket and no rate is here yet.")];
    by("buckets").replaceChildren(...told.buckets.map(card), ...empty);
    by("rates").replaceChildren(...told.rates.map(rate));
    by("cost").textContent = told.cost ? `${told.cost}, every ${told.interval}s` : `every ${told.interval}s`;
    document.documentElement.dataset.shown = `${told.buckets.length}`;
  };
  const ask = async () => {
    try {
      const answer = await fetch("data.json", { cache: "no-store" });
      if (!answer.ok) throw new Error(`ddb-lease serve answered ${answer.status}.`);
      const next = await answer.json();
      if (told && next.number === told.number) {
        told.error = next.error; // the same picture: its times go on
      } else {
        told = next;
        received = performance.now();
        show();
      }
      failed = "";
    } catch (error) {
      failed = error instanceof TypeError ? "ddb-lease serve does not answer." : `${error.message}`;
    }
    tick();
    setTimeout(ask, document.hidden ? 5000 : Math.min(2000, (told ? told.interval : 1) * 1000));
  };
  setInterval(tick, 1000);
  document.addEventListener("visibilitychange", tick);
  ask();
})();
