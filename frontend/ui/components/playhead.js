// A line over charts that stand on the seconds of a clip: it follows the player, and a press or the arrow keys move it.
// data: {player, charts: [{key, start_s, end_s}]}, the keys of Streamlit's containers. It draws over the charts and leaves them as they are.
export default function (component) {
  const { data, parentElement } = component;
  const find = (name) => parentElement.querySelector(`[data-part=${name}]`);
  const host = parentElement.querySelector(".playhead"), slider = find("slider"), hint = find("hint");
  parentElement.gapscope?.();  // what an earlier call listens to
  const stop = new AbortController();
  let frame = 0, held = null, active = null;

  const media = () => [...document.querySelectorAll(`.st-key-${data.player} :is(video, audio)`)];
  const plot = (chart) =>
    document.querySelector(`.st-key-${chart.key} svg.marks .root > g > path.background`)?.getBoundingClientRect();
  const current = () => active?.isConnected ? active : media()[0];
  const seconds = (value) => `${value.toFixed(2)} s`;
  const seek = (time_s) => {
    for (const one of media()) one.currentTime = Math.min(Math.max(time_s, 0), one.duration || 0);
    draw();
  };

  function draw() {
    const player = current(), origin = host.getBoundingClientRect(), time_s = player?.currentTime ?? 0;
    data.charts.forEach((chart, index) => {
      const box = plot(chart), line = find(`line-${index}`);
      const known = player?.duration > 0;  // without its clip there is nothing to follow
      const share = (time_s - chart.start_s) / (chart.end_s - chart.start_s);
      line.hidden = !box || !known || share < 0 || share > 1;
      const place = (one, left, width) => Object.assign(one.style, {
        left: `${left - origin.left}px`, top: `${box.top - origin.top}px`, height: `${box.height}px`, width,
      });
      if (!line.hidden) place(line, box.left + share * box.width, "");
      if (index > 0) return;
      slider.hidden = !box || !known;
      if (!slider.hidden) place(slider, box.left, `${box.width}px`);
    });
    const length_s = player?.duration || 0;
    slider.setAttribute("aria-valuemin", "0");
    slider.setAttribute("aria-valuemax", length_s.toFixed(2));
    slider.setAttribute("aria-valuenow", time_s.toFixed(2));
    slider.setAttribute("aria-valuetext", `${seconds(time_s)} of ${seconds(length_s)}`);
    hint.textContent = slider.hidden ? "" : `${seconds(time_s)} of ${seconds(length_s)}. Click a chart to jump there; `
      + "with the waveform in focus, arrow keys move and space plays.";
  }
  const follow = () => {
    draw();
    frame = current() && !current().paused ? requestAnimationFrame(follow) : 0;
  };
  const wake = () => { if (!frame) follow(); };

  function pointed(event) {
    for (const chart of data.charts) {
      const box = plot(chart);
      const inside = box && event.clientX >= box.left && event.clientX <= box.right
        && event.clientY >= box.top && event.clientY <= box.bottom;
      if (inside && event.target.closest?.(`.st-key-${chart.key}`)) return chart;
    }
    return null;
  }
  function moved(event) {
    const box = plot(held);
    if (box) seek(held.start_s + (event.clientX - box.left) / box.width * (held.end_s - held.start_s));
  }
  const on = (target, names, listener, capture = false) =>
    names.split(" ").forEach((name) => target.addEventListener(name, listener, { signal: stop.signal, capture }));

  on(document, "pointerdown", (event) => {
    held = event.button === 0 ? pointed(event) : null;
    if (held) moved(event);
  });
  on(document, "pointermove", (event) => { if (held) moved(event); });
  on(document, "pointerup pointercancel", () => { held = null; });
  // Events of media do not bubble: they are caught on their way down.
  on(document, "play playing seeking seeked timeupdate loadedmetadata pause", (event) => {
    if (!media().includes(event.target)) return;
    if (event.type !== "loadedmetadata") active = event.target;
    wake();
  }, true);
  on(window, "resize", draw);
  on(slider, "keydown", (event) => {
    const player = current(), now_s = player?.currentTime ?? 0, step_s = { ArrowLeft: -0.1, ArrowDown: -0.1,
      ArrowRight: 0.1, ArrowUp: 0.1, PageDown: -1, PageUp: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step_s !== undefined) seek(step_s === Infinity ? player?.duration ?? 0 : Math.max(0, now_s + step_s));
    else if (event.key === " ") media().forEach((one) => (player.paused ? one.play().catch(() => {}) : one.pause()));
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const timer = setInterval(draw, 400);  // charts are laid out anew without a word
  wake();

  const end = () => { stop.abort(); clearInterval(timer); cancelAnimationFrame(frame); };
  parentElement.gapscope = end;
  return end;
}
