/* The playground: gradient descent on free class embeddings, drawn while it runs.
   Plain script, no module: the page also works from file://. Two parts: the model, which mirrors clop_nb (dynamics, spectra,
   theory) and is tested against it, and the page. Matrices are Float64Arrays, row after row. */
(function () {
  "use strict";

  // The model -------------------------------------------------------------------------------------------------------

  // Seeded uniform numbers in (0, 1): mulberry32, a 32-bit generator in the public domain, by T. Ettinger.
  function uniforms(seed) {
    let state = seed >>> 0;
    return function () {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = state;
      t = Math.imul(t ^ (t >>> 15), t | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
    };
  }

  // Standard normal numbers by the transformation of Box and Muller.
  function gaussians(count, uniform) {
    const drawn = new Float64Array(count);
    for (let i = 0; i < count; i += 2) {
      const radius = Math.sqrt(-2 * Math.log(uniform()));
      const angle = 2 * Math.PI * uniform();
      drawn[i] = radius * Math.cos(angle);
      if (i + 1 < count) drawn[i + 1] = radius * Math.sin(angle);
    }
    return drawn;
  }

  function dot(a, i, b, j, m) {
    let sum = 0;
    for (let d = 0; d < m; d++) sum += a[i + d] * b[j + d];
    return sum;
  }

  function normaliseRows(x, k, m) {
    for (let i = 0; i < k; i++) {
      const norm = Math.sqrt(dot(x, i * m, x, i * m, m));
      for (let d = 0; d < m; d++) x[i * m + d] /= norm;
    }
    return x;
  }

  // Independent uniform points on the sphere: the paper's start.
  function randomEmbeddings(k, m, seed) {
    return normaliseRows(gaussians(k * m, uniforms(seed)), k, m);
  }

  // Orthonormal rows, uniformly distributed: Gram and Schmidt on Gaussian rows, twice for rounding. Needs m >= k.
  function orthonormal(k, m, seed) {
    const rows = gaussians(k * m, uniforms(seed ^ 0x5bd1e995)); // a stream apart from the start's
    for (let i = 0; i < k; i++) {
      for (let pass = 0; pass < 2; pass++) {
        for (let j = 0; j < i; j++) {
          const along = dot(rows, i * m, rows, j * m, m);
          for (let d = 0; d < m; d++) rows[i * m + d] -= along * rows[j * m + d];
        }
        normaliseRows(rows.subarray(i * m, (i + 1) * m), 1, m);
      }
    }
    return rows;
  }

  function rowSum(x, k, m) {
    const total = new Float64Array(m);
    for (let i = 0; i < k; i++) for (let d = 0; d < m; d++) total[d] += x[i * m + d];
    return total;
  }

  // One step in place, O(k m) since all embeddings share their sum. As clop_nb.dynamics.step.
  function step(x, k, m, lr, prototypes, weight, tangent) {
    const total = rowSum(x, k, m);
    const gradient = new Float64Array(m);
    // Below the rounding error of the subtraction the direction is noise: that counts as the zero vector.
    const smallest = 4 * Number.EPSILON * (1 + lr);
    for (let i = 0; i < k; i++) {
      const row = i * m;
      for (let d = 0; d < m; d++) gradient[d] = (total[d] - x[row + d]) / (k - 1);
      if (prototypes) for (let d = 0; d < m; d++) gradient[d] -= weight * prototypes[row + d];
      if (tangent) {
        const along = dot(gradient, 0, x, row, m);
        for (let d = 0; d < m; d++) gradient[d] -= along * x[row + d];
      }
      for (let d = 0; d < m; d++) gradient[d] = x[row + d] - lr * gradient[d];
      const norm = Math.sqrt(dot(gradient, 0, gradient, 0, m));
      if (norm > smallest) for (let d = 0; d < m; d++) x[row + d] = gradient[d] / norm;
    }
  }

  function meanNorm(x, k, m) {
    const total = rowSum(x, k, m);
    return Math.sqrt(dot(total, 0, total, 0, m)) / k;
  }

  // Eigenvalues, descending, and eigenvectors (rows) of a symmetric n x n matrix, which is overwritten: cyclic Jacobi.
  function eigen(a, n) {
    const v = new Float64Array(n * n);
    for (let i = 0; i < n; i++) v[i * n + i] = 1;
    let scale = 0;
    for (let i = 0; i < n * n; i++) scale += a[i] * a[i];
    for (let sweep = 0; sweep < 40; sweep++) {
      let off = 0;
      for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) off += a[p * n + q] * a[p * n + q];
      if (off <= 1e-27 * scale) break;
      for (let p = 0; p < n - 1; p++) {
        for (let q = p + 1; q < n; q++) {
          const apq = a[p * n + q];
          if (apq * apq <= 1e-32 * scale) continue;
          const theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
          const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
          const c = 1 / Math.sqrt(t * t + 1);
          const s = t * c;
          const app = a[p * n + p];
          const aqq = a[q * n + q];
          // Rows are contiguous; columns are filled in by symmetry.
          for (let j = 0; j < n; j++) {
            const apj = a[p * n + j];
            const aqj = a[q * n + j];
            a[j * n + p] = a[p * n + j] = c * apj - s * aqj;
            a[j * n + q] = a[q * n + j] = s * apj + c * aqj;
            const vpj = v[p * n + j];
            const vqj = v[q * n + j];
            v[p * n + j] = c * vpj - s * vqj;
            v[q * n + j] = s * vpj + c * vqj;
          }
          a[p * n + p] = app - t * apq;
          a[q * n + q] = aqq + t * apq;
          a[p * n + q] = a[q * n + p] = 0;
        }
      }
    }
    const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => a[j * n + j] - a[i * n + i]);
    return {
      values: Float64Array.from(order, (i) => a[i * n + i]),
      vectors: order.map((i) => v.subarray(i * n, (i + 1) * n)),
    };
  }

  // The spectrum from the smaller of the two Gram matrices: {values, directions}. The latter are orthonormal in R^m,
  // three, or fewer where the set spans fewer.
  function spectrum(x, k, m) {
    const n = Math.min(k, m);
    const gram = new Float64Array(n * n);
    if (k <= m) {
      for (let i = 0; i < k; i++) {
        for (let j = 0; j <= i; j++) gram[i * n + j] = gram[j * n + i] = dot(x, i * m, x, j * m, m);
      }
    } else {
      for (let i = 0; i < k; i++) {
        for (let d = 0; d < m; d++) for (let e = 0; e < m; e++) gram[d * n + e] += x[i * m + d] * x[i * m + e];
      }
    }
    const { values, vectors } = eigen(gram, n);
    const singular = values.map((value) => Math.sqrt(Math.max(0, value)));
    const directions = [];
    for (let l = 0; l < Math.min(3, n) && singular[l] > 1e-6 * singular[0]; l++) {
      if (k > m) {
        directions.push(vectors[l]);
        continue;
      }
      const direction = new Float64Array(m);
      for (let i = 0; i < k; i++) {
        for (let d = 0; d < m; d++) direction[d] += (vectors[l][i] * x[i * m + d]) / singular[l];
      }
      directions.push(direction);
    }
    return { values: singular, directions };
  }

  // Exponential of the entropy of the normalised singular values. As clop_nb.spectra.effective_rank.
  function effectiveRank(singular) {
    const total = singular.reduce((sum, value) => sum + value, 0);
    if (total === 0) return 0;
    let entropy = 0;
    for (const value of singular) if (value > 0) entropy -= (value / total) * Math.log(value / total);
    return Math.exp(entropy);
  }

  // The minimiser's multiplier nu and mean coefficient alpha. As clop_nb.theory.minimiser.
  function minimiser(k, weight) {
    let low = weight * Math.sqrt((k - 1) / k);
    let high = weight;
    let gap = low;
    let mean = 0;
    for (let i = 0; i < 200; i++) {
      gap = 0.5 * (low + high);
      mean = weight / (Math.sqrt(k) * (1 / (k - 1) + gap + 1));
      const simplex = (weight * Math.sqrt((k - 1) / k)) / gap;
      if (gap === low || gap === high) break;
      if (mean * mean + simplex * simplex > 1) low = gap;
      else high = gap;
    }
    return { nu: 1 / (k - 1) + gap, mean };
  }

  const ratio = (numerator, denominator) => (denominator > 0 ? numerator / denominator : Infinity);

  // As clop_nb.theory.critical_lr; a pull needs m >= k.
  function criticalLr(k, weight, m) {
    if (weight === 0) return ratio(2 * (k - 1), k - 2 - (m >= k ? 0 : k / m));
    const { nu, mean } = minimiser(k, weight);
    return ratio(2, 1 - nu - (m === k ? (k * mean * mean) / (k - 1) : 0));
  }

  // As clop_nb.theory.tangent_critical_lr.
  function tangentCriticalLr(k, weight) {
    return 2 / (1 + (weight === 0 ? 1 / (k - 1) : minimiser(k, weight).nu));
  }

  // A frame of three orthonormal vectors to project onto: the top singular directions, turned as little as possible
  // from the frame of the step before. The old frame stays while it still holds all but a thousandth of what the top
  // three do: directions with equal singular values are any, and would tumble.
  function frame(x, k, m, { values, directions }, before) {
    if (m <= 3) return Array.from({ length: 3 }, (_, l) => Float64Array.from({ length: m }, (_, d) => (d === l ? 1 : 0)));
    const best = values.slice(0, 3).reduce((sum, value) => sum + value * value, 0);
    if (before) {
      let held = 0;
      for (const axis of before) for (let i = 0; i < k; i++) held += dot(x, i * m, axis, 0, m) ** 2;
      if (held >= 0.999 * best) return before;
    }
    const inside = (axis) => {
      const sum = new Float64Array(m);
      for (const direction of directions) {
        const along = dot(axis, 0, direction, 0, m);
        for (let d = 0; d < m; d++) sum[d] += along * direction[d];
      }
      return sum;
    };
    // Old axes projected into the new span first; then the span itself, the old axes, anything, where those do not suffice.
    const unit = (l) => Float64Array.from({ length: m }, (_, d) => (d === l ? 1 : 0));
    const candidates = [...(before ? before.map(inside) : []), ...directions, ...(before || []), unit(0), unit(1), unit(2)];
    const axes = [];
    for (const offered of candidates) {
      if (axes.length === 3) break;
      const candidate = offered.slice();
      for (let pass = 0; pass < 2; pass++) {
        for (const axis of axes) {
          const along = dot(candidate, 0, axis, 0, m);
          for (let d = 0; d < m; d++) candidate[d] -= along * axis[d];
        }
        const norm = Math.sqrt(dot(candidate, 0, candidate, 0, m));
        if (norm < (pass ? 0.5 : 1e-2)) break;
        for (let d = 0; d < m; d++) candidate[d] /= norm;
        if (pass) axes.push(candidate);
      }
    }
    return axes;
  }

  const model = { randomEmbeddings, orthonormal, step, meanNorm, spectrum, effectiveRank, criticalLr, tangentCriticalLr, frame };

  // The run ---------------------------------------------------------------------------------------------------------

  const root = document.querySelector(".playground");
  if (!root) return;
  const LAST_STEP = 10000; // a run stops here, so that a link can replay it at once
  const KEPT = 500; // recorded steps; beyond, every other one is dropped
  const NUDGE = 0.01; // length of the displacement of each embedding

  const find = (id) => document.getElementById("pg-" + id);
  const inputs = { lr: find("lr"), lambda: find("lambda"), k: find("k"), m: find("m") };
  const kinds = Array.from(root.querySelectorAll("input[name=pg-step]"));

  const settings = { k: 30, m: 100, lr: 2.1, lambda: 0, step: "theorem", seed: 1 };
  let run; // {x, prototypes, at, before, history, stride, initial, actions}, made by begin()
  let playing = false;

  const weight = () => (settings.m >= settings.k ? settings.lambda : 0);

  function begin() {
    const { k, m, seed } = settings;
    const x = randomEmbeddings(k, m, seed);
    const prototypes = m >= k ? orthonormal(k, m, seed) : null;
    run = { x, before: x.slice(), prototypes, at: 0, history: [], stride: 1, initial: { ...settings }, actions: [], cached: null, axes: null };
    record();
  }

  // Spectrum, effective rank and mean of the present state, computed once a state.
  function present() {
    if (!run.cached) {
      const { k, m } = settings;
      const found = spectrum(run.x, k, m);
      run.axes = frame(run.x, k, m, found, run.axes);
      run.cached = { singular: found.values, rank: effectiveRank(found.values), mean: meanNorm(run.x, k, m) };
    }
    return run.cached;
  }

  function record() {
    if (run.at % run.stride) return;
    const { mean, rank } = present();
    run.history.push({ at: run.at, mean, rank });
    if (run.history.length > KEPT) {
      run.stride *= 2;
      run.history = run.history.filter((entry) => entry.at % run.stride === 0);
    }
  }

  function advance() {
    if (run.at >= LAST_STEP) return false;
    run.before.set(run.x);
    step(run.x, settings.k, settings.m, settings.lr, weight() ? run.prototypes : null, weight(), settings.step === "tangent");
    run.at += 1;
    run.cached = null;
    record();
    return true;
  }

  function displace() {
    const { k, m, seed } = settings;
    const noise = normaliseRows(gaussians(k * m, uniforms(seed + 0x9e3779b1 * (run.at + 1))), k, m);
    for (let i = 0; i < k * m; i++) run.x[i] += NUDGE * noise[i];
    normaliseRows(run.x, k, m);
    run.cached = null;
  }

  // What the reader does during a run is kept with its step: start and actions give the state again.
  function act(key, value) {
    const last = run.actions[run.actions.length - 1];
    if (key === "nudge") displace();
    else settings[key] = value;
    if (run.at === 0 && key !== "nudge" && !run.actions.length) run.initial[key] = value;
    else if (last && last.at === run.at && last.key === key && key !== "nudge") last.value = value;
    else run.actions.push({ at: run.at, key, value });
  }

  // The threshold ---------------------------------------------------------------------------------------------------

  // {value, low, side, words}: the exact threshold of the spread state; `low`, where m < k, is the rate from which complete
  // collapse attracts; NaN where no closed form holds.
  function threshold() {
    const { k, m, lr } = settings;
    const pull = weight();
    if (settings.step === "tangent") {
      if (m < k || (pull > 0 && m === k)) {
        const words = `No mark: for this step the closed form needs ${pull > 0 ? "m > k" : "m ≥ k"}.`;
        return { value: NaN, low: NaN, side: "unknown", words };
      }
      const value = tangentCriticalLr(k, pull);
      const side = lr > value ? "above" : "below";
      const state = side === "above" ? "the spread state is unstable; embeddings bounce" : "the spread state is stable";
      return { value, low: NaN, side, words: `Threshold ${shown(value)}. The rate is ${side} it: ${state}.` };
    }
    const value = criticalLr(k, pull, m);
    if (m < k) {
      const low = criticalLr(k, 0, k);
      const even = "sets that use all m directions evenly are stable";
      const [side, rest] = Number.isFinite(value)
        ? [lr > value ? "above" : lr > low ? "between" : "below", `${even} up to ${shown(value)}`]
        : [lr > low ? "between" : "below", `${even} at every rate`];
      const where = { above: "above both", between: "where both can attract", below: "below" }[side];
      const words = `Fewer dimensions than classes: collapse attracts above ${shown(low)}; ${rest}. The rate is ${where}.`;
      return { value, low, side, words };
    }
    if (!Number.isFinite(value)) {
      return { value, low: NaN, side: "none", words: "No threshold: the spread state is stable at every rate." };
    }
    const side = lr > value ? "above" : "below";
    const state = side === "below" ? "stable" : "unstable";
    const words = `Threshold ${shown(value)}${value > Number(inputs.lr.max) ? ", beyond the slider" : ""}. The rate is ${side} it: the spread state is ${state}.`;
    return { value, low: NaN, side, words };
  }

  const shown = (value, digits = 4) => value.toFixed(digits);

  // Drawing ---------------------------------------------------------------------------------------------------------

  let colours = {};
  function readColours() {
    const style = getComputedStyle(root);
    for (const name of ["ink", "soft", "line", "ball", "class", "mean", "pull", "ground"]) {
      colours[name] = style.getPropertyValue("--pg-" + name).trim();
    }
    colours.font = style.fontFamily;
  }

  // A cleared context in CSS pixels, crisp on screens of any density.
  function prepare(canvas) {
    const { width, height } = canvas.getBoundingClientRect();
    const density = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(width * density), Math.round(height * density)];
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    const pen = canvas.getContext("2d");
    pen.setTransform(density, 0, 0, density, 0, 0);
    pen.clearRect(0, 0, width, height);
    return { pen, width, height };
  }

  const HOME = { yaw: 0.6, pitch: 0.35 };
  const view = { ...HOME };

  // Screen coordinates in units of the radius, z towards the reader.
  function turned(x, y, z) {
    const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
    const [right, depth] = [cy * x + sy * y, -sy * x + cy * y];
    return [right, cp * z - sp * depth, sp * z + cp * depth];
  }

  const MERIDIANS = [];
  for (let i = 0; i < 4; i++) {
    const [c, s] = [Math.cos((i * Math.PI) / 4), Math.sin((i * Math.PI) / 4)];
    MERIDIANS.push((t) => [c * Math.cos(t), s * Math.cos(t), Math.sin(t)]);
  }
  const PARALLELS = [-0.5, 0, 0.5].map((z) => (t) => [Math.sqrt(1 - z * z) * Math.cos(t), Math.sqrt(1 - z * z) * Math.sin(t), z]);

  function drawSphere() {
    const { pen, width, height } = prepare(find("sphere"));
    const radius = Math.max(1, Math.min(width, height) / 2 - 12);
    const { k, m } = settings;
    present();
    const place = (rows, i) => {
      const p = run.axes.map((axis) => dot(rows, i * m, axis, 0, m));
      return turned(p[0], p[1], p[2]);
    };
    const at = ([x, y]) => [width / 2 + radius * x, height / 2 - radius * y];
    const grid = (front) => {
      pen.strokeStyle = colours.line;
      pen.lineWidth = 1;
      pen.globalAlpha = front ? 0.9 : 0.4;
      pen.beginPath();
      for (const curve of [...MERIDIANS, ...PARALLELS]) {
        let inside = false;
        for (let i = 0; i <= 72; i++) {
          const point = turned(...curve((i * Math.PI) / 36));
          if (point[2] >= 0 === front) inside ? pen.lineTo(...at(point)) : pen.moveTo(...at(point));
          inside = point[2] >= 0 === front;
        }
      }
      pen.stroke();
      pen.globalAlpha = 1;
    };

    pen.fillStyle = colours.ball;
    pen.beginPath();
    pen.arc(width / 2, height / 2, radius, 0, 2 * Math.PI);
    pen.fill();
    grid(false);

    // Everything in the ball, the farthest first; what lies on the front of the surface comes after the front grid.
    const marks = [];
    for (let i = 0; i < k; i++) {
      if (weight()) marks.push({ kind: "square", point: place(run.prototypes, i) });
      marks.push({ kind: "ring", point: place(run.before, i) });
      marks.push({ kind: "dot", point: place(run.x, i) });
    }
    const mean = rowSum(run.x, k, m).map((value) => value / k);
    marks.sort((a, b) => a.point[2] - b.point[2]);
    const onFront = ({ point }) => point[2] > 0 && Math.hypot(...point) > 0.97;
    for (const mark of marks) if (!onFront(mark)) drawMark(pen, mark, at, width / 2, height / 2);
    grid(true);
    pen.strokeStyle = colours.soft;
    pen.lineWidth = 1.2;
    pen.beginPath();
    pen.arc(width / 2, height / 2, radius, 0, 2 * Math.PI);
    pen.stroke();
    for (const mark of marks) if (onFront(mark)) drawMark(pen, mark, at, width / 2, height / 2);
    drawMark(pen, { kind: "diamond", point: place(mean, 0) }, at, width / 2, height / 2); // never behind its classes
  }

  function drawMark(pen, { kind, point }, at, cx, cy) {
    const [x, y] = at(point);
    const near = (point[2] + 1) / 2;
    const size = 3 + 2.5 * near;
    pen.globalAlpha = 0.45 + 0.55 * near;
    pen.beginPath();
    if (kind === "dot" || kind === "diamond") {
      // A spoke from the centre shows how long the projection is.
      pen.strokeStyle = kind === "dot" ? colours.class : colours.mean;
      pen.lineWidth = kind === "dot" ? 0.7 : 2.5;
      pen.moveTo(cx, cy);
      pen.lineTo(x, y);
      pen.stroke();
      pen.beginPath();
    }
    pen.lineWidth = 1.3;
    if (kind === "dot") {
      pen.arc(x, y, size, 0, 2 * Math.PI);
      pen.fillStyle = colours.class;
      pen.strokeStyle = colours.ground;
      pen.fill();
      pen.stroke();
    } else if (kind === "ring") {
      pen.globalAlpha *= 0.6;
      pen.arc(x, y, size, 0, 2 * Math.PI);
      pen.strokeStyle = colours.class;
      pen.stroke();
    } else if (kind === "square") {
      pen.rect(x - size, y - size, 2 * size, 2 * size);
      pen.strokeStyle = colours.pull;
      pen.stroke();
    } else {
      pen.globalAlpha = 1;
      pen.moveTo(x, y - 6);
      pen.lineTo(x + 6, y);
      pen.lineTo(x, y + 6);
      pen.lineTo(x - 6, y);
      pen.closePath();
      pen.fillStyle = colours.mean;
      pen.strokeStyle = colours.ground;
      pen.fill();
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  const EDGE = { left: 34, right: 8, top: 8, bottom: 20 };

  // Axes with their end values; returns the map from values to pixels.
  function axes(pen, width, height, xMax, xName, ends) {
    const { left, right, top, bottom } = EDGE;
    const across = (x) => left + (x / xMax) * (width - left - right);
    const up = (y) => height - bottom - (y / ends[1].at) * (height - top - bottom);
    pen.font = `12px ${colours.font}`;
    pen.lineWidth = 1;
    pen.strokeStyle = colours.line;
    pen.fillStyle = colours.soft;
    pen.beginPath();
    for (const end of [...ends, { at: ends[1].at / 2 }]) {
      pen.moveTo(left, Math.round(up(end.at)) + 0.5);
      pen.lineTo(width - right, Math.round(up(end.at)) + 0.5);
    }
    pen.stroke();
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const end of ends) pen.fillText(end.text, left - 5, up(end.at));
    pen.textBaseline = "top";
    pen.textAlign = "center";
    pen.fillText(xName, (left + width - right) / 2, height - bottom + 4);
    return { across, up };
  }

  function drawSpectrum() {
    const { pen, width, height } = prepare(find("spectrum"));
    const { singular } = present();
    const ends = [{ at: 0, text: "0" }, { at: Math.sqrt(settings.k), text: "√k" }];
    const { across, up } = axes(pen, width, height, singular.length, "singular value, by rank", ends);
    pen.fillStyle = colours.class;
    const gap = singular.length > 30 ? 0.5 : 1;
    singular.forEach((value, i) => pen.fillRect(across(i) + gap, up(value), across(i + 1) - across(i) - 2 * gap, up(0) - up(value)));
    pen.fillStyle = colours.soft;
    pen.fillText("1", across(0.5), up(0) + 4);
    if (singular.length > 1) pen.fillText(String(singular.length), across(singular.length - 0.5) - 3, up(0) + 4);
  }

  // The next of 50, 100, 200, 500, 1000, ...: the axis of steps grows by leaps, not at every step.
  function roundUp(steps) {
    for (let unit = 10; ; unit *= 10) for (const factor of [5, 10, 20]) if (steps <= factor * unit) return factor * unit;
  }

  function drawHistory(canvas, key, most, text) {
    const { pen, width, height } = prepare(canvas);
    const last = roundUp(run.at);
    const { across, up } = axes(pen, width, height, last, "step", [{ at: 0, text: "0" }, { at: most, text }]);
    pen.fillText("0", across(0), up(0) + 4);
    pen.textAlign = "right";
    pen.fillText(String(last), across(last), up(0) + 4);
    // Where the reader changed something during the run.
    pen.strokeStyle = colours.soft;
    pen.setLineDash([2, 3]);
    pen.beginPath();
    for (const at of new Set(run.actions.map((action) => action.at))) {
      pen.moveTo(across(at), up(0));
      pen.lineTo(across(at), up(most));
    }
    pen.stroke();
    pen.setLineDash([]);
    const points = [...run.history, { at: run.at, ...present() }];
    pen.strokeStyle = pen.fillStyle = key === "mean" ? colours.mean : colours.class;
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    pen.beginPath();
    for (const point of points) pen.lineTo(across(point.at), up(point[key]));
    pen.stroke();
    pen.beginPath();
    pen.arc(across(run.at), up(present()[key]), 3.5, 0, 2 * Math.PI);
    pen.fill();
  }

  const inWords = () => {
    const { mean, rank } = present();
    const most = Math.min(settings.k, settings.m);
    return `step ${run.at}, norm of the mean ${shown(mean, 3)}, effective rank ${shown(rank, 2)} of at most ${most}`;
  };

  function draw() {
    drawSphere();
    drawSpectrum();
    drawHistory(find("mean"), "mean", 1, "1");
    const most = Math.min(settings.k, settings.m);
    drawHistory(find("rank"), "rank", most, String(most));
    const [first, ...rest] = inWords();
    const end = run.at >= LAST_STEP ? " The run ends here; reset it to start again." : "";
    find("readout").textContent = `${first.toUpperCase()}${rest.join("")}.${end}`;
    find("projection").textContent = projectionWords();
    describe();
  }

  // How many dimensions the sphere shows, and how much of the squared lengths lies in them.
  function projectionWords() {
    const { k, m } = settings;
    if (m === 2) return "All of the space: with m = 2 the embeddings lie on a circle.";
    if (m === 3) return "All of the space: with m = 3 the embeddings lie on this sphere.";
    let held = 0;
    for (const axis of run.axes) for (let i = 0; i < k; i++) held += dot(run.x, i * m, axis, 0, m) ** 2;
    const share = Math.round((100 * held) / k);
    return `A projection: of m = ${m} dimensions the sphere shows the top three singular directions, which hold ${share} % of the squared lengths.`;
  }

  // The page --------------------------------------------------------------------------------------------------------

  // Announced on pause, on reset and on crossing the threshold, and only then.
  function announce(text) {
    find("message").textContent = text;
  }

  // What the canvases show, for those who do not see them.
  function describe() {
    find("sphere").setAttribute("aria-label", `Embeddings on a sphere: ${inWords()}.`);
    const { singular, mean, rank } = present();
    find("spectrum").setAttribute("aria-label", `Singular values from ${shown(singular[0], 2)} down to ${shown(singular[singular.length - 1], 2)}.`);
    find("mean").setAttribute("aria-label", `Norm of the mean over ${run.at} steps, now ${shown(mean, 3)}.`);
    find("rank").setAttribute("aria-label", `Effective rank over ${run.at} steps, now ${shown(rank, 2)}.`);
  }

  let side = null;
  // Bring controls, mark and words in line with the settings; says whether the threshold was crossed.
  function reflect() {
    for (const [name, input] of Object.entries(inputs)) {
      input.value = settings[name];
      find(name + "-value").textContent = name === "k" || name === "m" ? settings[name] : shown(settings[name], 2);
    }
    for (const kind of kinds) kind.checked = kind.value === settings.step;
    inputs.lambda.disabled = settings.m < settings.k;
    find("lambda-note").textContent =
      settings.m < settings.k ? "Directions at right angles need m ≥ k: no pull here." : "";
    const found = threshold();
    find("threshold").textContent = found.words;
    inputs.lr.setAttribute("aria-valuetext", `${shown(settings.lr, 2)}. ${found.words}`);
    for (const [mark, value] of [[find("mark"), found.value], [find("mark-low"), found.low]]) {
      const { min, max } = inputs.lr;
      mark.hidden = !(value >= Number(min) && value <= Number(max));
      if (!mark.hidden) mark.style.setProperty("--pg-at", (value - min) / (max - min));
    }
    const crossed = side !== null && side !== found.side;
    side = found.side;
    return crossed ? found.words : null;
  }

  let pending = false;
  function redraw() {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      draw();
    });
  }

  let clock = null; // when the steps of the present run were last counted
  let due = 0;
  let inView = true;
  function tick(now) {
    if (!playing) return;
    if (inView) {
      due += clock === null ? 1 : (Math.min(now - clock, 250) / 1000) * Number(find("speed").value);
      const stop = performance.now() + 25; // leave the rest of the frame to drawing and input
      while (due >= 1 && playing) {
        due = performance.now() < stop ? due - 1 : 0;
        if (!advance()) pause("The run ends here. ");
      }
      draw();
    }
    clock = now;
    if (playing) requestAnimationFrame(tick);
  }

  function play() {
    if (playing) return;
    playing = true;
    clock = null;
    due = 0;
    find("play").textContent = "Pause";
    requestAnimationFrame(tick);
  }

  function pause(before = "") {
    playing = false;
    find("play").textContent = "Play";
    announce(`${before}Paused: ${inWords()}.`);
    redraw();
  }

  function reset(words = "Reset") {
    begin();
    const { k, m, lr } = settings;
    reflect();
    announce(`${words}: k = ${k}, m = ${m}, learning rate ${shown(lr, 2)}. ${find("threshold").textContent}`);
    redraw();
  }

  // Steps on demand: a running animation stops for them.
  function steps(count) {
    if (playing) pause();
    for (let i = 0; i < count; i++) advance();
    redraw();
  }

  function change(key, value) {
    if (key === "k" || key === "m") {
      settings[key] = value;
      begin();
    } else act(key, value);
    const crossed = reflect();
    if (crossed) announce(crossed);
    redraw();
  }

  // Links: the settings at the start, the number of steps, and what the reader did on the way.
  function address() {
    const parts = new URLSearchParams({ ...run.initial, at: run.at });
    if (run.actions.length) parts.set("then", run.actions.map(({ at, key, value }) => [at, key, value].join("~")).join(" "));
    return `${location.href.split("#")[0]}#${parts}`;
  }

  const KINDS = ["theorem", "tangent"];
  const whole = (text, least, most) => Math.min(most, Math.max(least, Math.round(Number(text)) || least));

  // What the slider makes of a text: inside its range and on its grid; null where it is no number.
  function accepted(name, text) {
    if (text === null || text === "" || !Number.isFinite(Number(text))) return null;
    const probe = inputs[name].cloneNode();
    probe.value = text;
    return Number(probe.value);
  }

  function choose(parts) {
    for (const name of Object.keys(inputs)) settings[name] = accepted(name, parts.get(name)) ?? settings[name];
    if (KINDS.includes(parts.get("step"))) settings.step = parts.get("step");
    if (parts.has("seed")) settings.seed = whole(parts.get("seed"), 1, 4294967295);
  }

  // Returns whether the address holds a state.
  function restore() {
    const parts = new URLSearchParams(location.hash.slice(1));
    if (!parts.has("k")) return false;
    playing = false;
    find("play").textContent = "Play";
    choose(parts);
    begin();
    const actions = (parts.get("then") || "").split(" ").map((part) => part.split("~"));
    const last = whole(parts.get("at"), 0, LAST_STEP);
    while (last >= run.stride * KEPT) run.stride *= 2; // no spectrum that record() would drop again
    for (;;) {
      for (const [at, key, text] of actions) {
        if (Number(at) !== run.at || at === "") continue;
        if (key === "nudge") act(key);
        else if (key === "step" && KINDS.includes(text)) act(key, text);
        else if ((key === "lr" || key === "lambda") && accepted(key, text ?? "") !== null) act(key, accepted(key, text));
      }
      if (run.at >= last) break;
      advance();
    }
    reflect();
    announce(`Restored from the link: ${inWords()}.`);
    redraw();
    return true;
  }

  async function copyLink() {
    const link = address();
    history.replaceState(null, "", link);
    let copied = true;
    try {
      await navigator.clipboard.writeText(link);
    } catch {
      copied = false; // no permission, or no clipboard: the address bar holds the link all the same
    }
    find("link").textContent = copied ? "Link copied" : "Link in address bar";
    setTimeout(() => (find("link").textContent = "Copy link"), 2500);
  }

  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

  function preset(text) {
    Object.assign(settings, { lambda: 0, step: "theorem" });
    choose(new URLSearchParams(text));
    reset("Preset");
    if (!calm.matches) play();
  }

  function listen() {
    for (const button of root.querySelectorAll("[data-preset]")) button.addEventListener("click", () => preset(button.dataset.preset));
    for (const [name, input] of Object.entries(inputs)) input.addEventListener("input", () => change(name, Number(input.value)));
    for (const kind of kinds) kind.addEventListener("change", () => change("step", kind.value));
    const press = {
      play: () => (playing ? pause() : play()),
      one: () => steps(1),
      many: () => steps(100),
      nudge: () => change("nudge"),
      reset: () => reset(),
      reseed: () => {
        settings.seed = (settings.seed % 9999) + 1;
        reset(`Reset with seed ${settings.seed}`);
      },
      link: copyLink,
    };
    for (const [name, action] of Object.entries(press)) find(name).addEventListener("click", action);

    const sphere = find("sphere");
    const turn = (yaw, pitch) => {
      view.yaw += yaw;
      view.pitch = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, view.pitch + pitch));
      redraw();
    };
    let held = null; // where the pointer was last
    sphere.addEventListener("pointerdown", (event) => {
      sphere.setPointerCapture(event.pointerId);
      held = [event.clientX, event.clientY];
    });
    sphere.addEventListener("pointermove", ({ clientX, clientY, pointerId }) => {
      if (!sphere.hasPointerCapture(pointerId)) return;
      turn((clientX - held[0]) * 0.01, (clientY - held[1]) * 0.01);
      held = [clientX, clientY];
    });
    const keys = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
    sphere.addEventListener("keydown", (event) => {
      if (event.key === "Home") Object.assign(view, HOME);
      else if (!keys[event.key]) return;
      event.preventDefault();
      turn(...(keys[event.key] || [0, 0]));
    });

    window.addEventListener("hashchange", restore);
    new ResizeObserver(redraw).observe(root);
    new MutationObserver(() => {
      readColours();
      redraw();
    }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    new IntersectionObserver((entries) => (inView = entries[entries.length - 1].isIntersecting)).observe(root);
    calm.addEventListener("change", () => calm.matches && playing && pause());
  }

  root.classList.add("pg-on");
  readColours();
  listen();
  if (!restore()) {
    begin();
    reflect();
    redraw();
    if (!calm.matches) play();
  }

  // For the tests, and for a reader with a console: the model, and the run by hand.
  window.clopPlayground = {
    model,
    run: steps,
    state: () => ({ ...settings, at: run.at, playing, x: Array.from(run.x), view: { ...view }, ...present(), singular: Array.from(present().singular), threshold: threshold().value }),
    address,
  };
})();
