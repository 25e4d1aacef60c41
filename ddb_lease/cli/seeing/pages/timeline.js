"use strict";
// Draws the timeline. All text of others is drawn on the canvas or set as textContent: none of it becomes markup.
(() => {
  const told = JSON.parse(document.getElementById("told").textContent);
  const chart = document.getElementById("chart");
  const canvas = chart.querySelector("canvas");
  const spacer = document.getElementById("spacer");
  const about = document.getElementById("about");
  const range = document.getElementById("range");
  const pen = canvas.getContext("2d");
  // Okabe and Ito's palette, which is safe for the colour-blind, without its vermilion: that one means a loss.
  const COLOURS = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#0072b2"];
  const INKS = ["#000", "#000", "#000", "#000", "#000", "#fff"];
  const [START, END, OWNER, ENDING, FENCE, UNCERTAIN, REVOKED, REASON, LEASE] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  const AXIS = 30, LANE = 24, THIN = 19, COUNT = 40, HEAD = 30, MOST_LANES = 40;
  const whole = Math.max(told.length, 0.001);
  let view = [-whole * 0.01, whole * 1.01], labels = 0, width = 0, height = 0, hovered = null, lit = -1, waiting = false;

  // Rows: a head for each bucket, a lane for each slot, the number of waiters, and a lane for each of the first.
  const rows = [];
  let total = AXIS;
  const row = (kind, high, more) => { rows.push({ kind, y: total, high, ...more }); total += high; };
  for (const bucket of told.buckets) {
    row("head", HEAD, { bucket });
    bucket.slots.forEach((slot) => row("slot", LANE, { bucket, label: `slot ${slot[0]}`, bars: slot[1] }));
    if (bucket.waits.length) {
      const edges = bucket.waits.flatMap((wait) => [[wait[0], 1], [wait[1], -1]]);
      edges.sort((a, b) => a[0] - b[0] || b[1] - a[1]);
      let now = 0, most = 0;
      const steps = edges.map(([at, by]) => { now += by; most = Math.max(most, now); return [at, now]; });
      row("count", COUNT, { bucket, label: `waiting, 0 to ${most}`, steps, most });
      const lanes = [];
      let left = 0;
      for (const wait of bucket.waits) {
        let lane = lanes.findIndex((one) => one[one.length - 1][1] <= wait[0]);
        if (lane < 0 && lanes.length < MOST_LANES) { lanes.push([]); lane = lanes.length - 1; }
        if (lane < 0) left += 1; else lanes[lane].push(wait);
      }
      lanes.forEach((bars, n) => row("wait", THIN, { bucket, label: n ? "" : "waiters", bars }));
      if (left) row("note", THIN, { bucket, label: "", text: `${left} more waits are in the number above only` });
    }
  }
  total += 8;

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const x = (at) => labels + ((at - view[0]) / (view[1] - view[0])) * (width - labels);
  const time = (px) => view[0] + ((px - labels) / (width - labels)) * (view[1] - view[0]);
  const later = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(); }); } };

  const clock = (at, digits = 0) => {
    const text = new Date((told.start + at) * 1000).toISOString();
    return digits ? text.slice(11, 20 + digits) : text.slice(11, 19);
  };
  const day = (at) => new Date((told.start + at) * 1000).toISOString().slice(0, 10);
  const lasting = (seconds) => {
    const two = (number) => String(number).padStart(2, "0");
    if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)}s`;
    const s = Math.round(seconds), h = Math.floor(s / 3600), m = Math.floor((s % 3600) / 60);
    if (s < 60) return `${s}s`;
    if (s < 3600) return `${m}m${s % 60 ? `${two(s % 60)}s` : ""}`;
    return h < 48 ? `${h}h${m ? `${two(m)}m` : ""}` : `${Math.floor(h / 24)}d${h % 24}h`;
  };

  const STEPS = [0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600,
    43200, 86400, 172800, 604800, 2592000, 7776000, 31536000];
  const ticks = () => {
    const room = (width - labels) / 95;
    const step = STEPS.find((one) => (view[1] - view[0]) / one <= room) || STEPS[STEPS.length - 1];
    const first = Math.ceil((told.start + view[0]) / step) * step - told.start;
    const found = [];
    for (let at = first; at <= view[1] && found.length < 60; at += step) found.push(at);
    return { step, found };
  };

  // The first bar that ends after a time: those of a lane follow one another.
  const from = (bars, at) => {
    let low = 0, high = bars.length;
    while (low < high) { const middle = (low + high) >> 1; if (bars[middle][END] < at) low = middle + 1; else high = middle; }
    return low;
  };

  const clipped = (text, room) => {
    if (pen.measureText(text).width <= room) return text;
    let low = 0, high = text.length;
    while (low < high) {
      const keep = (low + high + 1) >> 1;
      const short = `${text.slice(0, Math.ceil(keep / 2))}…${text.slice(text.length - Math.floor(keep / 2))}`;
      if (pen.measureText(short).width <= room) low = keep; else high = keep - 1;
    }
    return low < 3 ? "" : `${text.slice(0, Math.ceil(low / 2))}…${text.slice(text.length - Math.floor(low / 2))}`;
  };

  const bars = (one, ink) => {
    const y = one.y - chart.scrollTop + 3, high = one.high - 6;
    let filled = -1;
    for (let n = from(one.bars, view[0]); n < one.bars.length && one.bars[n][START] <= view[1]; n += 1) {
      const bar = one.bars[n], left = Math.max(x(bar[START]), labels), right = Math.max(x(bar[END]), left + 1.5);
      const marked = bar[ENDING] === "lost" || bar[ENDING] === "expired" || bar[REVOKED] !== null;
      if (right <= filled && !marked) continue;
      filled = Math.max(filled, Math.floor(right));
      const colour = bar[OWNER] % COLOURS.length;
      pen.globalAlpha = lit >= 0 && lit !== bar[OWNER] ? 0.22 : 1;
      pen.fillStyle = COLOURS[colour];
      pen.fillRect(left, y, right - left - (right - left > 3 ? 1 : 0), high);
      if (bar[UNCERTAIN] > 0 && right - left > 4) {
        const doubt = Math.max(left, x(bar[END] - bar[UNCERTAIN]));
        pen.fillStyle = ink.ground;
        pen.globalAlpha *= 0.45;
        pen.fillRect(doubt, y, right - doubt, high);
        pen.globalAlpha = lit >= 0 && lit !== bar[OWNER] ? 0.22 : 1;
      }
      if (right - left > 34) {
        pen.fillStyle = INKS[colour];
        pen.textAlign = "left";
        pen.fillText(clipped(told.owners[bar[OWNER]], right - left - 18), left + 6, y + high / 2);
      }
      if (bar[ENDING] === "lost" && right - left < 9) {
        pen.fillStyle = ink.bad; // too near to the next: a stroke
        pen.fillRect(Math.max(labels, right - 1.5), y - 2, 1.5, high + 4);
      } else if (bar[ENDING] === "lost") cross(right, y, high, ink);
      if (bar[ENDING] === "expired") diamond(right, y, high, ink);
      if (bar[ENDING] === "open") arrow(right, y, high, ink, COLOURS[colour]);
      if (bar[REVOKED] !== null) triangle(x(bar[REVOKED]), y, ink);
      pen.globalAlpha = 1;
    }
  };
  const cross = (at, y, high, ink) => {
    if (at < labels) return;
    pen.lineWidth = 5.5; pen.strokeStyle = ink.ground; crossed(at, y + high / 2);
    pen.lineWidth = 2.6; pen.strokeStyle = ink.bad; crossed(at, y + high / 2);
  };
  const crossed = (at, y) => {
    pen.beginPath();
    pen.moveTo(at - 5, y - 5); pen.lineTo(at + 5, y + 5); pen.moveTo(at + 5, y - 5); pen.lineTo(at - 5, y + 5);
    pen.stroke();
  };
  const diamond = (at, y, high, ink) => {
    if (at < labels) return;
    const middle = y + high / 2;
    pen.beginPath();
    pen.moveTo(at - 6, middle); pen.lineTo(at, middle - 6); pen.lineTo(at + 6, middle); pen.lineTo(at, middle + 6);
    pen.closePath();
    pen.fillStyle = ink.ground; pen.fill();
    pen.lineWidth = 2; pen.strokeStyle = ink.bad; pen.stroke();
  };
  const arrow = (at, y, high, ink, colour) => {
    if (at < labels) return;
    pen.fillStyle = colour;
    pen.beginPath(); pen.moveTo(at, y); pen.lineTo(at + 7, y + high / 2); pen.lineTo(at, y + high); pen.fill();
  };
  const triangle = (at, y, ink) => {
    if (at < labels) return;
    pen.beginPath(); pen.moveTo(at - 5, y - 3); pen.lineTo(at + 5, y - 3); pen.lineTo(at, y + 6); pen.closePath();
    pen.fillStyle = ink.ink; pen.fill();
    pen.lineWidth = 1.2; pen.strokeStyle = ink.ground; pen.stroke();
  };

  const waits = (one, ink) => {
    const y = one.y - chart.scrollTop + 2, high = one.high - 4;
    pen.font = "11px system-ui, sans-serif";
    let filled = -1;
    for (let n = from(one.bars, view[0]); n < one.bars.length && one.bars[n][START] <= view[1]; n += 1) {
      const bar = one.bars[n], left = Math.max(x(bar[START]), labels), right = Math.max(x(bar[END]), left + 1.5);
      pen.globalAlpha = lit >= 0 && lit !== bar[OWNER] ? 0.22 : 1;
      pen.strokeStyle = pen.fillStyle = ink.wait;
      if (right - left < 4) {
        if (right > filled) { pen.globalAlpha *= 0.45; pen.fillRect(left, y, 1.5, high); filled = left + 1.5; }
        continue;
      }
      pen.lineWidth = 1.4;
      pen.setLineDash(bar[ENDING] === "gone" ? [3, 3] : []);
      pen.strokeRect(left + 0.5, y + 0.5, Math.max(1, right - left - 2), high - 1);
      pen.setLineDash([]);
      if (bar[ENDING] === "served") pen.fillRect(right - 4, y, 3, high);
      if (right - left > 60) {
        pen.fillStyle = ink.ink;
        pen.textAlign = "left";
        pen.fillText(clipped(told.owners[bar[OWNER]], right - left - 16), left + 5, y + high / 2 + 0.5);
      }
      pen.globalAlpha = 1;
    }
    pen.globalAlpha = 1;
    pen.font = "12px system-ui, sans-serif";
  };

  const count = (one, ink) => {
    const base = one.y - chart.scrollTop + one.high - 4, scale = (one.high - 8) / one.most;
    pen.fillStyle = ink.wait;
    pen.globalAlpha = 0.35;
    pen.beginPath();
    pen.moveTo(labels, base);
    let level = 0;
    for (const [at, now] of one.steps) {
      const px = Math.min(Math.max(x(at), labels), width);
      pen.lineTo(px, base - level * scale);
      level = now;
      pen.lineTo(px, base - level * scale);
    }
    pen.lineTo(width, base - level * scale);
    pen.lineTo(width, base);
    pen.fill();
    pen.globalAlpha = 1;
  };

  const head = (one, ink) => {
    const y = one.y - chart.scrollTop, bucket = one.bucket;
    pen.fillStyle = ink.raised;
    pen.fillRect(0, y, width, one.high);
    pen.strokeStyle = ink.wait;
    for (const [start, end] of bucket.outages) {
      const left = Math.max(x(start), labels), right = Math.max(x(end), left + 2);
      if (right < labels) continue;
      pen.fillStyle = ink.bad;
      pen.globalAlpha = 0.3;
      pen.fillRect(left, y + 4, right - left, one.high - 8);
      pen.globalAlpha = 1;
    }
    pen.fillStyle = ink.soft;
    let last = -9;
    for (const mark of bucket.marks) {
      const px = x(mark[0]);
      if (px < labels || px > width || px - last < 2) continue;
      last = px;
      pen.fillRect(px, y + one.high - 9, 1.6, 7);
    }
    pen.font = "600 14px system-ui, sans-serif";
    pen.fillStyle = ink.ink;
    pen.textAlign = "left";
    const size = bucket.max ? ` (${bucket.max} tokens)` : "";
    const title = clipped(bucket.name + size, Math.max(90, width - 20));
    pen.globalAlpha = 0.85; pen.fillStyle = ink.raised;
    pen.fillRect(0, y, pen.measureText(title).width + 20, one.high);
    pen.globalAlpha = 1; pen.fillStyle = ink.ink;
    pen.fillText(title, 10, y + one.high / 2);
    pen.font = "12px system-ui, sans-serif";
  };

  const draw = () => {
    const ink = Object.fromEntries(
      ["ground", "raised", "ink", "soft", "line", "bad", "wait"].map((name) => [name, style(`--${name}`)]));
    const dots = window.devicePixelRatio || 1;
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    pen.fillStyle = ink.ground;
    pen.fillRect(0, 0, width, height);
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    const { step, found } = ticks();
    pen.strokeStyle = ink.line;
    pen.lineWidth = 1;
    pen.beginPath();
    for (const at of found) { const px = Math.round(x(at)) + 0.5; pen.moveTo(px, AXIS - 5); pen.lineTo(px, height); }
    pen.stroke();
    for (const one of rows) {
      const y = one.y - chart.scrollTop;
      if (y + one.high < AXIS || y > height) continue;
      if (one.kind === "slot") bars(one, ink);
      else if (one.kind === "wait") waits(one, ink);
      else if (one.kind === "count") count(one, ink);
      else if (one.kind === "head") head(one, ink);
      if (one.kind === "head") continue;
      pen.fillStyle = ink.ground;
      pen.fillRect(0, y, labels - 1, one.high);
      pen.fillStyle = ink.line;
      pen.fillRect(labels - 1, y, 1, one.high);
      pen.fillStyle = ink.soft;
      pen.textAlign = "left";
      if (one.kind === "note") pen.fillText(one.text, labels + 6, y + one.high / 2);
      else if (one.kind === "count" && labels < 90) {
        pen.fillText("waiting,", 8, y + one.high / 2 - 7);
        pen.fillText(`0 to ${one.most}`, 8, y + one.high / 2 + 8);
      } else pen.fillText(clipped(one.label, labels - 12), 8, y + one.high / 2);
    }
    pen.fillStyle = ink.ground;
    pen.fillRect(0, 0, width, AXIS - 4);
    pen.fillStyle = ink.soft;
    pen.textAlign = "left";
    pen.fillText("UTC", 8, AXIS / 2 - 1);
    pen.textAlign = "center";
    const digits = step < 0.1 ? 2 : step < 1 ? 1 : 0;
    for (const at of found) {
      const text = step >= 86400 ? day(at) : clock(at, digits).slice(0, step >= 60 ? 5 : undefined);
      const half = pen.measureText(text).width / 2, px = x(at);
      if (px - half > labels - 8 && px + half < width) pen.fillText(text, px, AXIS / 2 - 1);
    }
    pen.strokeStyle = ink.line;
    pen.beginPath();
    pen.moveTo(0, AXIS - 4.5); pen.lineTo(width, AXIS - 4.5);
    pen.stroke();
    const shown = view[1] - view[0];
    const left = day(view[0]) === day(view[1]) ? "" : `${day(view[1])} `;
    range.textContent = `${day(view[0])} ${clock(view[0])} to ${left}${clock(view[1])} UTC: ${lasting(shown)}`;
  };

  const fit = () => {
    width = chart.clientWidth;
    height = Math.min(total, Math.max(200, Math.floor(window.innerHeight * 0.78)));
    labels = width < 640 ? 62 : 118;
    const dots = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * dots);
    canvas.height = Math.round(height * dots);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    spacer.style.height = `${Math.max(0, total - height)}px`;
    draw(); // at once: setting the size has cleared it
  };

  const SHORTEST = 0.02;
  const show = (start, end) => {
    const most = whole * 1.5, long = Math.min(Math.max(end - start, SHORTEST), most);
    const middle = Math.min(Math.max((start + end) / 2, 0), whole);
    view = [middle - long / 2, middle + long / 2];
    later();
  };
  const zoom = (by, at = (view[0] + view[1]) / 2) => {
    const long = Math.min(Math.max((view[1] - view[0]) * by, SHORTEST), whole * 1.5);
    const part = (at - view[0]) / (view[1] - view[0]);
    show(at - long * part, at - long * part + long);
  };
  const pan = (part) => { const by = (view[1] - view[0]) * part; show(view[0] + by, view[1] + by); };
  const all = () => show(-whole * 0.01, whole * 1.01);

  const hit = (px, py) => {
    if (px < labels || py < AXIS) return null;
    const y = py + chart.scrollTop, at = time(px), slack = 3 * (view[1] - view[0]) / (width - labels);
    const one = rows.find((candidate) => y >= candidate.y && y < candidate.y + candidate.high);
    if (!one) return null;
    if (one.kind === "slot" || one.kind === "wait") {
      for (let n = from(one.bars, at - slack); n < one.bars.length && one.bars[n][START] <= at + slack; n += 1)
        return { one, bar: one.bars[n] };
    }
    if (one.kind === "head") {
      const outage = one.bucket.outages.find(([start, end]) => at >= start - slack && at <= end + slack);
      if (outage) return { one, outage };
      const mark = one.bucket.marks.find(([when]) => Math.abs(when - at) <= slack);
      if (mark) return { one, mark };
    }
    return null;
  };
  const ENDINGS = {
    released: "released", lost: "lost", expired: "expired: its holder neither renewed nor released it",
    gone: "ended", open: "held when the record ends", served: "then got its slot",
  };
  const words = (found) => {
    if (found.outage) return ["No answer from the service", lasting(found.outage[1] - found.outage[0]), found.outage[2]];
    if (found.mark) return [found.mark[1], found.mark[2], `${clock(found.mark[0], 3)} UTC`];
    const bar = found.bar, long = lasting(bar[END] - bar[START]);
    const when = `${clock(bar[START], 3)} to ${clock(bar[END], 3)} UTC`;
    if (found.one.kind === "wait") {
      const end = bar[ENDING] === "gone" ? "then gave up, or its end was not seen" :
        bar[ENDING] === "open" ? "still waits when the record ends" : ENDINGS.served;
      return [told.owners[bar[OWNER]], `waited ${long}, ${end}`, when];
    }
    const reason = bar[REASON] ? ` (${bar[REASON]})` : "", doubt = bar[UNCERTAIN] > 0 ? `, give or take ${lasting(bar[UNCERTAIN])}` : "";
    const lines = [told.owners[bar[OWNER]], `${found.one.label}, held for ${long}`, when, ENDINGS[bar[ENDING]] + reason + doubt];
    if (bar[REVOKED] !== null) lines.push(`seen revoked at ${clock(bar[REVOKED], 3)}`);
    lines.push(`lease ${bar[LEASE]}` + (bar[FENCE] === null ? "" : `, fence ${bar[FENCE]}`));
    return lines;
  };
  const tell = (event) => {
    const box = canvas.getBoundingClientRect();
    const found = hit(event.clientX - box.left, event.clientY - box.top);
    const owner = found && found.bar ? found.bar[OWNER] : -1;
    if (owner !== lit) { lit = owner; later(); }
    about.hidden = !found;
    if (!found) return;
    if (hovered !== (found.bar || found.mark || found.outage)) {
      hovered = found.bar || found.mark || found.outage;
      about.replaceChildren(...words(found).filter(Boolean).map((line, n) => {
        const part = document.createElement(n ? "div" : "strong");
        part.textContent = line;
        return part;
      }));
    }
    const own = about.getBoundingClientRect();
    about.style.left = `${Math.max(4, Math.min(event.clientX + 14, window.innerWidth - own.width - 6))}px`;
    about.style.top = `${event.clientY + 20 + own.height > window.innerHeight ? event.clientY - own.height - 12 : event.clientY + 20}px`;
  };

  let dragged = null;
  canvas.addEventListener("pointerdown", (event) => {
    dragged = event.clientX;
    canvas.setPointerCapture(event.pointerId);
    tell(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (dragged === null) { tell(event); return; }
    canvas.classList.add("dragged");
    about.hidden = true;
    pan((dragged - event.clientX) / (width - labels));
    dragged = event.clientX;
  });
  for (const end of ["pointerup", "pointercancel"])
    canvas.addEventListener(end, () => { dragged = null; canvas.classList.remove("dragged"); });
  canvas.addEventListener("pointerleave", () => { about.hidden = true; hovered = null; if (lit >= 0) { lit = -1; later(); } });
  canvas.addEventListener("dblclick", (event) => zoom(0.5, time(event.clientX - canvas.getBoundingClientRect().left)));
  chart.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.01), time(event.clientX - canvas.getBoundingClientRect().left));
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
      event.preventDefault();
      pan((event.deltaX || event.deltaY) / (width - labels));
    }
  }, { passive: false });
  chart.addEventListener("scroll", later);
  chart.addEventListener("keydown", (event) => {
    const keys = { "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), "0": all,
      ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15) };
    if (keys[event.key] && !event.ctrlKey && !event.metaKey) { event.preventDefault(); keys[event.key](); }
  });
  document.getElementById("in").addEventListener("click", () => zoom(0.6));
  document.getElementById("out").addEventListener("click", () => zoom(1 / 0.6));
  document.getElementById("all").addEventListener("click", all);
  document.getElementById("earlier").addEventListener("click", () => pan(-0.4));
  document.getElementById("later").addEventListener("click", () => pan(0.4));
  new ResizeObserver(() => requestAnimationFrame(fit)).observe(chart);
  window.addEventListener("resize", fit);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
  document.documentElement.dataset.drawn = `${rows.length}`;
  window.timeline = { show, rows, view: () => view };
  fit();
})();
