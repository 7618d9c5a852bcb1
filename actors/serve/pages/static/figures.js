// Figures as SVG: marks that can be reached by keyboard and read aloud, colours from the style sheet.
"use strict";

window.SalusFigures = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const NAMES = new Map([["base", "deployed model"], ["champion", "champion stayed"]]);
  const nameOf = (contender) => NAMES.get(contender) || contender.toUpperCase();
  const JUDGES = { truth: "reference labels", judge: "own judge" };
  // Sideways, in cycles, so that intervals do not hide each other; a judge's points stand further out.
  const SHIFT = 0.08;
  const OUT = 0.09;
  const MARGIN = { left: 40, right: 14, top: 12, bottom: 38 };

  function node(name, attributes = {}, ...children) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function shape(kind, size, classes) {
    if (kind === "circle") return node("circle", { r: size, class: classes });
    if (kind === "square") return node("rect", { x: -size, y: -size, width: 2 * size, height: 2 * size, class: classes });
    // Corners, and how far the first is turned from the top.
    const [corners, turned] = { triangle: [3, 0], turned_triangle: [3, 0.5], pentagon: [5, 0], hexagon: [6, 0] }[kind] || [4, 0];
    const corner = (i) => [Math.sin, (a) => -Math.cos(a)].map((of) => (1.3 * size * of(2 * Math.PI * (i / corners + turned))).toFixed(2));
    const d = [...Array(corners).keys()].map((i) => corner(i).join(" ")).join("L");
    return node("path", { d: `M${d}Z`, class: classes });
  }

  // How a contender is drawn, by the marks that came with the points.
  const markOf = (marks, contender) => (Object.hasOwn(marks, contender) ? marks[contender] : { shape: "diamond", hue: "champion" });
  // Challengers from left to right; none is where a champion that stayed is.
  function shifts(marks) {
    const names = Object.keys(marks);
    const places = names.length + (names.length % 2);
    return new Map(names.map((name, i) => [name, (2 * i - (places - 1)) * SHIFT]));
  }
  const range = (point) => `95 % ${point.low.toFixed(3)} to ${point.high.toFixed(3)}, n ${point.n.toLocaleString("en")}`;

  // An empty picture of the container's width, with axes; x and y turn values into places.
  function canvas(container, title, xs, ys) {
    const width = Math.max(240, container.clientWidth);
    const height = width < 420 ? 250 : 290;
    const [left, right] = [MARGIN.left, width - MARGIN.right];
    const [top, bottom] = [MARGIN.top, height - MARGIN.bottom];
    const x = (value) => left + ((value - xs.from) / (xs.to - xs.from)) * (right - left);
    const y = (value) => bottom - ((value - ys.from) / (ys.to - ys.from)) * (bottom - top);
    const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": title });
    for (const tick of ys.ticks) {
      svg.append(node("line", { x1: left, x2: right, y1: y(tick), y2: y(tick), class: "grid" }));
      svg.append(node("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, (ys.words || ((t) => t.toFixed(2)))(tick)));
    }
    for (const [value, words] of xs.ticks) {
      svg.append(node("text", { x: x(value), y: bottom + 17, "text-anchor": "middle" }, words));
    }
    svg.append(node("text", { x: (left + right) / 2, y: height - 3, "text-anchor": "middle" }, xs.title));
    svg.append(node("line", { x1: left, x2: right, y1: bottom, y2: bottom, class: "axis" }));
    return { svg, x, y, width };
  }

  // A mark with its interval; `words` is what it says, a heading and a line.
  function mark(picture, at, look, words) {
    const group = node("g", {
      class: `mark ${look.colour}${look.pale ? " pale" : ""}`, role: "img", tabindex: -1, "aria-label": words.join(": "),
    });
    const [px, py] = [picture.x(at.x), picture.y(at.value)];
    for (const [low, high] of at.low === undefined ? [] : [[picture.y(at.low), picture.y(at.high)]]) {
      group.append(node("path", { d: `M${px} ${low}V${high}M${px - 3} ${low}h6M${px - 3} ${high}h6`, fill: "none" }));
    }
    const place = node("g", { transform: `translate(${px} ${py})` });
    const classes = `shape ${look.full ? "full" : "hollow"}`;
    place.append(node("circle", { r: 13, class: "hit" }), node("circle", { r: 11, class: "ring" }));
    place.append(shape(look.kind, look.size, classes));
    group.append(place);
    group.place = [px, py];
    group.words = words;
    picture.svg.append(group);
  }

  // One stop for Tab; arrow keys, Home and End go from mark to mark; what is pointed at or focused is told beside it.
  function interact(container, picture) {
    const marks = [...picture.svg.querySelectorAll(".mark")];
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    tip.setAttribute("aria-hidden", "true");
    const tell = (group) => {
      const heading = document.createElement("strong");
      heading.textContent = group.words[0];
      tip.replaceChildren(heading, group.words[1]);
      tip.hidden = false;
      const [px, py] = group.place;
      const scale = container.clientWidth / picture.width;
      const left = Math.min(px * scale + 14, container.clientWidth - tip.offsetWidth);
      tip.style.left = `${Math.max(0, left)}px`;
      tip.style.top = `${Math.max(0, py * scale - tip.offsetHeight - 14)}px`;
    };
    const silence = () => { tip.hidden = true; };
    const go = (index) => {
      for (const each of marks) each.setAttribute("tabindex", -1);
      marks[index].setAttribute("tabindex", 0);
      marks[index].focus();
    };
    marks.forEach((group, index) => {
      group.addEventListener("pointerenter", () => tell(group));
      group.addEventListener("pointerleave", silence);
      group.addEventListener("focus", () => tell(group));
      group.addEventListener("blur", silence);
      group.addEventListener("keydown", (event) => {
        const steps = { ArrowRight: index + 1, ArrowDown: index + 1, ArrowLeft: index - 1, ArrowUp: index - 1 };
        const next = { ...steps, Home: 0, End: marks.length - 1 }[event.key];
        if (event.key === "Escape") silence();
        if (next === undefined) return;
        event.preventDefault();
        go((next + marks.length) % marks.length);
      });
    });
    if (marks.length) marks[0].setAttribute("tabindex", 0);
    container.replaceChildren(picture.svg, tip);
  }

  function empty(container, sentence) {
    const told = document.createElement("p");
    told.className = "empty";
    told.textContent = sentence;
    container.replaceChildren(told);
  }

  // The deployed model, then each cycle's winner.
  function championPath(points) {
    const start = points.filter((p) => p.cycle === 0).slice(0, 1);
    const winners = points.filter((p) => p.winner && p.cycle > 0).sort((a, b) => a.cycle - b.cycle);
    return [...start, ...winners];
  }

  function scale(points) {
    const most = Math.max(0, ...points.map((p) => p.high));
    // Ends, and how many steps of two decimals lead there.
    const [to, steps] = [[0.1, 5], [0.2, 4], [0.5, 5], [1, 4]].find(([end]) => most <= end) || [1, 4];
    return { from: 0, to, ticks: [...Array(steps + 1).keys()].map((i) => (i * to) / steps) };
  }

  // One metric by cycle: each challenger by its mark, the winner filled; judge dashed, reference solid.
  function cycles(container, points, marks, metric, title, full) {
    const shown = points.filter((p) => p.metric === metric);
    if (!shown.length) return empty(container, "No cycle has been decided yet.");
    const judges = ["judge", "truth"].filter((by) => shown.some((p) => p.judged_by === by));
    const last = Math.max(...shown.map((p) => p.cycle));
    const step = Math.ceil((last + 1) / 12);
    const ticks = [...Array(last + 1).keys()].filter((c) => c % step === 0).map((c) => [c, String(c)]);
    const xs = { from: -0.35, to: last + 0.35, ticks, title: "cycle (0: deployed)" };
    const picture = canvas(container, title, xs, full ? { from: 0, to: 1, ticks: [0, 0.25, 0.5, 0.75, 1] } : scale(shown));
    const aside = shifts(marks);
    const place = (p, by) => {
      const shift = aside.get(p.contender) || 0;
      return p.cycle + shift + (by === "judge" && judges.length > 1 ? Math.sign(shift) * OUT : 0);
    };
    const drawn = [];
    for (const by of judges) {
      const own = shown.filter((p) => p.judged_by === by);
      const path = championPath(own);
      const pale = by === "judge" && judges.length > 1;
      const d = path.map((p, i) => `${i ? "L" : "M"}${picture.x(place(p, by))} ${picture.y(p.value)}`).join("");
      const classes = `path${by === "judge" ? " dashed" : ""}${pale ? " pale" : ""}`;
      picture.svg.append(node("path", { d, class: classes, "aria-hidden": "true" }));
      const seen = own.filter((p) => aside.has(p.contender) || path.includes(p));
      for (const p of seen) drawn.push([p, by, pale]);
    }
    drawn.sort((a, b) => a[0].cycle - b[0].cycle || place(a[0], a[1]) - place(b[0], b[1]));
    for (const [p, by, pale] of drawn) {
      const chosen = p.winner && p.cycle > 0 ? ", chosen" : "";
      const own = markOf(marks, p.contender);
      const look = { kind: own.shape, colour: own.hue, full: p.winner || p.cycle === 0, pale, size: pale ? 4 : 5.5 };
      const words = [`Cycle ${p.cycle}, ${nameOf(p.contender)} (${JUDGES[by]})${chosen}`, `${p.value.toFixed(3)}, ${range(p)}`];
      mark(picture, { x: place(p, by), value: p.value, low: p.low, high: p.high }, look, words);
    }
    interact(container, picture);
  }

  // Four places and what is there are as many as fit beside each other.
  const spread = (from, to, steps = 4) => [...Array(steps + 1).keys()].map((i) => from + (i * (to - from)) / steps);
  const brief = (value) => (value === 0 || (Math.abs(value) >= 0.01 && Math.abs(value) < 10000) ? String(Number(value.toPrecision(3))) : value.toExponential(1));

  // One figure of training by optimizer step: a line for each challenger, and a mark where it is now.
  function curves(container, lines, marks, figure) {
    const shown = lines.filter((line) => line.figure === figure);
    if (!shown.length) return empty(container, "No challenger has logged a step yet.");
    const values = shown.flatMap((line) => line.values);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const pad = high > low ? 0 : Math.abs(high) || 1;
    const ys = { from: low - pad, to: high + pad, ticks: spread(low - pad, high + pad), words: brief };
    const last = Math.max(...shown.flatMap((line) => line.steps));
    const ticks = [...new Set(spread(0, last).map(Math.round))].map((step) => [step, step.toLocaleString("en")]);
    const picture = canvas(container, `Training: ${figure}`, { from: 0, to: last, ticks, title: "optimizer step, all cycles" }, ys);
    for (const line of shown) {
      const look = markOf(marks, line.challenger);
      const d = line.steps.map((step, i) => `${i ? "L" : "M"}${picture.x(step)} ${picture.y(line.values[i])}`).join("");
      picture.svg.append(node("path", { d, class: look.hue, fill: "none", "stroke-width": 1.4, "aria-hidden": "true" }));
    }
    for (const line of shown) {
      const look = markOf(marks, line.challenger);
      const [step, value] = [line.steps[line.steps.length - 1], line.values[line.values.length - 1]];
      const words = [`${nameOf(line.challenger)}, step ${step.toLocaleString("en")}`, `${figure} ${brief(value)}`];
      mark(picture, { x: step, value }, { kind: look.shape, colour: look.hue, full: true, size: 4.5 }, words);
    }
    interact(container, picture);
  }

  // A point on the diagonal is a bin whose labels are right as often as their probability says.
  function reliability(container, parts) {
    const shown = parts.filter((part) => part.bins.some((bin) => bin.n));
    if (!shown.length) return empty(container, "The judge was not held against trusted labels yet.");
    const ticks = [0, 0.25, 0.5, 0.75, 1];
    const xs = { from: 0, to: 1, ticks: ticks.map((t) => [t, t.toFixed(2)]), title: "probability of the given label" };
    const picture = canvas(container, "Reliability of the judge's probabilities", xs, { from: 0, to: 1, ticks });
    const [x, y] = [picture.x, picture.y];
    picture.svg.append(node("line", { x1: x(0), y1: y(0), x2: x(1), y2: y(1), class: "axis dashed" }));
    for (const part of shown) {
      const [kind, hue] = part.name === "calibrated" ? ["square", "blue"] : ["circle", "vermilion"];
      const bins = part.bins.filter((bin) => bin.n && bin.confidence !== null && bin.accuracy !== null);
      const d = bins.map((bin, i) => `${i ? "L" : "M"}${x(bin.confidence)} ${y(bin.accuracy)}`).join("");
      picture.svg.append(node("path", { d, class: hue, fill: "none", "stroke-width": 1.4 }));
      for (const bin of bins) {
        const words = [
          `Judge ${part.name}: said ${bin.confidence.toFixed(3)} on average`,
          `right in ${bin.accuracy.toFixed(3)} of ${bin.n.toLocaleString("en")} answers`,
        ];
        const size = 3.5 + Math.min(5, Math.log10(bin.n) * 1.6);
        mark(picture, { x: bin.confidence, value: bin.accuracy }, { kind, colour: hue, full: true, size }, words);
      }
    }
    interact(container, picture);
  }

  // How often the judge is right by trusted labels: at its calibration, then in each cycle's control answers.
  function checked(container, lines, calibration) {
    const own = lines.filter((line) => line.accuracy).map((line) => [line.cycle, `Cycle ${line.cycle}`, line.reference, line.accuracy]);
    const first = calibration && calibration.accuracy ? [[0, "Calibration", calibration.labels_source, calibration.accuracy]] : [];
    const shown = [...first, ...own];
    if (!shown.length) return empty(container, "No trusted labels have been held against the judge's yet.");
    const last = Math.max(1, ...shown.map(([cycle]) => cycle));
    const step = Math.ceil((last + 1) / 12);
    const ticks = [...Array(last + 1).keys()].filter((c) => c % step === 0).map((c) => [c, String(c)]);
    const xs = { from: -0.35, to: last + 0.35, ticks, title: "cycle (0: calibration)" };
    const picture = canvas(container, "The judge's accuracy by cycle", xs, { from: 0, to: 1, ticks: [0, 0.25, 0.5, 0.75, 1] });
    const d = shown.map(([cycle, , , of], i) => `${i ? "L" : "M"}${picture.x(cycle)} ${picture.y(of.value)}`).join("");
    picture.svg.append(node("path", { d, class: "path", "aria-hidden": "true" }));
    for (const [cycle, name, reference, of] of shown) {
      const look = { kind: cycle ? "circle" : "square", colour: "blue", full: true, size: 5 };
      mark(picture, { x: cycle, value: of.value, low: of.low, high: of.high }, look, [`${name}, by ${reference}`, `${of.value.toFixed(3)}, ${range(of)}`]);
    }
    interact(container, picture);
  }

  // What marks and lines mean, as list items.
  function legend(list, entries) {
    const item = ([look, words]) => {
      const svg = node("svg", { viewBox: "0 0 26 14", "aria-hidden": "true" });
      if (look.line) svg.append(node("line", { x1: 1, x2: 25, y1: 7, y2: 7, class: `champion${look.line === "dashed" ? " dashed" : ""}` }));
      else {
        const place = node("g", { transform: "translate(13 7)", class: look.colour });
        place.append(shape(look.kind, 5, look.full ? "full" : "hollow"));
        svg.append(place);
      }
      const li = document.createElement("li");
      li.append(svg, words);
      return li;
    };
    list.replaceChildren(...entries.map(item));
  }

  return { cycles, curves, reliability, checked, legend, nameOf, brief, JUDGES };
})();
