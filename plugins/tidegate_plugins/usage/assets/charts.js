"use strict";
// Charts of the page, drawn by uPlot: stacked columns and lines, with a legend that tells values.

const Charts = (() => {
  const HEIGHT = 190;

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  function axis(size, format) {
    return {
      stroke: colour("dim"),
      grid: { stroke: colour("grid"), width: 1 },
      ticks: { stroke: colour("grid"), width: 1, size: 4 },
      font: "11px system-ui, 'DejaVu Sans', sans-serif",
      size,
      gap: 4,
      values: format && ((_, splits) => splits.map((at) => (at === null ? "" : format(at)))),
    };
  }

  function clock(at, length_s) {
    const time = new Date(at * 1000);
    const two = (n) => String(n).padStart(2, "0");
    const day = `${two(time.getMonth() + 1)}-${two(time.getDate())}`;
    return length_s > 2 * 86400 ? day : `${two(time.getHours())}:${two(time.getMinutes())}`;
  }

  // Of a logarithmic axis: 1, 3, 10, 30, … as far as they lie within.
  function decades(low, high) {
    const found = [];
    for (let at = 10 ** Math.floor(Math.log10(low)); at <= high; at *= 10) found.push(at, 3 * at);
    return found.filter((at) => at >= low && at <= high);
  }

  // What lies on top of another is drawn first, from the sum of all below it and itself.
  function stacked(lines) {
    const sums = [];
    let below = null;
    for (const line of lines) {
      below = line.map((value, i) => value + (below ? below[i] : 0));
      sums.push(below);
    }
    return sums;
  }

  function series(chart) {
    const pairs = chart.lines.map((line, i) => ({ ...line, index: i }));
    const sums = chart.stack ? stacked(chart.lines.map((line) => line.values)) : null;
    const drawn = chart.stack ? pairs.reverse() : pairs;
    return {
      data: drawn.map((line) => (sums ? sums[line.index] : line.values)),
      options: drawn.map((line) => ({
        label: line.label,
        stroke: colour(line.colour),
        fill: sums ? colour(line.colour) : undefined,
        width: sums ? 0 : 2,
        dash: line.dash,
        spanGaps: false,
        points: sums ? { show: false } : { size: 5, fill: colour(line.colour) },
        paths: sums ? uPlot.paths.bars({ size: [0.82, 60], align: 1 }) : undefined,
        value: (_, __, ___, at) => {
          const value = at === null || at === undefined ? line.last : line.values[at];
          return value === null || value === undefined ? "–" : chart.format(value);
        },
      })),
    };
  }

  function options(chart, found, width) {
    return {
      width,
      height: HEIGHT,
      padding: [8, 22, 0, 0],
      cursor: { y: false, points: { show: !chart.stack }, drag: { x: false, y: false } },
      legend: { markers: { width: 0, fill: (_, i) => found.options[i - 1].stroke } },
      scales: {
        x: { time: true, range: () => [chart.t[0], chart.t[chart.t.length - 1] + chart.width_s] },
        y: chart.log
          ? { distr: 3, range: (_, low, high) => [Math.max(low / 1.5, 0.001), high * 1.5] }
          : { range: (_, __, high) => [0, high > 0 ? high * 1.08 : 1] },
      },
      axes: [
        axis(26, (at) => clock(at, chart.t.length * chart.width_s)),
        chart.log
          ? { ...axis(58, chart.format), splits: (_, __, low, high) => decades(low, high), filter: (_, splits) => splits }
          : axis(58, chart.format),
      ],
      series: [{ label: "time", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, ...found.options],
    };
  }

  function empty(chart) {
    return chart.lines.every((line) => line.values.every((value) => !value));
  }

  // One figure: made once, drawn anew at each refresh, as the colours may have changed too.
  function figure(id, title) {
    const node = document.createElement("figure");
    node.id = id;
    const caption = document.createElement("figcaption");
    const heading = document.createElement("span");
    heading.textContent = title;
    const unit = document.createElement("small");
    caption.append(heading, unit);
    const plot = document.createElement("div");
    plot.className = "plot";
    plot.setAttribute("role", "img");
    node.append(caption, plot);
    let drawn = null;

    function draw(chart) {
      unit.textContent = chart.unit;
      plot.setAttribute("aria-label", `${title}, ${chart.unit}: ${chart.summary}`);
      if (drawn) drawn.destroy();
      drawn = null;
      plot.replaceChildren();
      if (empty(chart)) {
        const nothing = document.createElement("p");
        nothing.className = "nothing";
        nothing.textContent = chart.nothing || "none in this range";
        plot.append(nothing);
        return;
      }
      const found = series(chart);
      drawn = new uPlot(options(chart, found, plot.clientWidth), [chart.t, ...found.data], plot);
    }

    return { node, draw, busy: () => drawn !== null && drawn.cursor.left >= 0 };
  }

  return { figure };
})();
