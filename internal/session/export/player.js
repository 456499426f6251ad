
"use strict";
// The recording is data: it reaches the page as text content and numbers only.
const byId = (id) => document.getElementById(id);
const all = JSON.parse(byId("frames").textContent);
const frames = all.filter((f) => f.m === undefined);
const end = all.length ? all[all.length - 1].t : 0;
const view = byId("screen"), seek = byId("seek"), play = byId("play"), speed = byId("speed");
let rows = [], cursor = null, next = 0, at = 0, before = 0, playing = false;
const clock = (ms) => new Date(ms).toISOString().slice(11, 19);
const color = (n) => "#" + n.toString(16).padStart(6, "0");
function drawRow(row, runs) {
  row.replaceChildren(...runs.map(([text, fg, bg, attr]) => {
    const span = document.createElement("span");
    span.textContent = text;
    if (attr & 32) [fg, bg] = [bg < 0 ? 0x111111 : bg, fg < 0 ? 0xdddddd : fg];
    if (fg >= 0) span.style.color = color(fg);
    if (bg >= 0) span.style.backgroundColor = color(bg);
    [[1, "b"], [2, "f"], [4, "i"], [8, "u"], [64, "h"], [128, "s"]].forEach(([bit, name]) => {
      if (attr & bit) span.classList.add(name);
    });
    return span;
  }));
}
function apply(f) {
  if (f.k) {
    rows = Array.from({ length: f.r }, () => document.createElement("div"));
    view.replaceChildren(...rows);
  }
  for (const [y, runs] of Object.entries(f.l || {})) if (rows[y]) drawRow(rows[y], runs);
  if (cursor) cursor.classList.remove("cursor");
  cursor = f.u ? rows[f.u[1]] : null;
  if (cursor) cursor.classList.add("cursor");
}
function show(to) {
  if (to < at) next = 0;
  at = to;
  let last = next;
  while (last < frames.length && frames[last].t <= to) last++;
  let first = next;
  for (let i = last - 1; i >= next; i--) if (frames[i].k) { first = i; break; }
  for (let i = first; i < last; i++) apply(frames[i]);
  next = last;
  seek.value = to;
  byId("time").value = clock(to) + " / " + clock(end);
}
function step(now) {
  if (!playing) return;
  show(Math.min(end, at + (now - before) * Number(speed.value)));
  before = now;
  if (at >= end) pause();
  else requestAnimationFrame(step);
}
function pause() {
  playing = false;
  play.textContent = "Play";
}
play.addEventListener("click", () => {
  if (playing) return pause();
  if (at >= end) show(0);
  playing = true;
  play.textContent = "Pause";
  before = performance.now();
  requestAnimationFrame(step);
});
seek.max = end;
seek.addEventListener("input", () => show(Number(seek.value)));
for (const f of all) {
  if (f.m === undefined) continue;
  if (f.m.startsWith("This session was encrypted")) byId("notice").textContent = f.m;
  const item = document.createElement("li"), jump = document.createElement("button");
  jump.type = "button";
  jump.textContent = clock(f.t) + "  " + f.m;
  jump.addEventListener("click", () => show(f.t));
  item.append(jump);
  byId("markers").append(item);
}
show(0);
