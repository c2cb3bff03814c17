// Sends clips straight from the browser to the API, one after the other, with progress. No file passes through Streamlit.
// data: {url, run_id, label, accept, disabled}; triggers: `uploaded` (the newest score's id, after each clip),
// so that the page follows) and `ended` ({id: the last score's or null, refused: [{filename, problem}]}, once all were
// sent: a trigger that comes while the page is drawn replaces the one before it).
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const find = (name) => parentElement.querySelector(`[data-part=${name}]`);
  const state = (parentElement.gapscope ??= { request: null, stopped: false });
  const file = find("file"), sound = find("sound"), send = find("send"), stop = find("stop"), drop = find("drop");
  const bar = find("bar"), text = find("text");
  state.data = data;
  state.trigger = setTriggerValue;
  file.accept = data.accept;

  const size = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
  const stem = (one) => one.name.replace(/\.[^.]*$/, "").toLowerCase();
  const isSound = (one) => /\.(wav|mp3|flac|ogg|m4a)$/i.test(one.name);
  // A sound file of a video's name is that video's sound; the one chosen apart belongs to a single clip.
  const clips = () => {
    const all = [...file.files];
    const sounds = new Map(all.filter(isSound).map((one) => [stem(one), one]));
    const videos = all.filter((one) => !isSound(one));
    const taken = new Set(videos.map(stem));
    const alone = all.filter((one) => isSound(one) && !taken.has(stem(one)));
    const made = [...videos.map((one) => ({ clip: one, sound: sounds.get(stem(one)) })), ...alone.map((one) => ({ clip: one }))];
    if (made.length === 1 && sound.files[0]) made[0].sound = sound.files[0];
    return made;
  };
  const bytes = (one) => one.clip.size + (one.sound?.size ?? 0);

  const show = () => {
    const chosen = clips(), extra = sound.files[0];
    const total = chosen.reduce((sum, one) => sum + bytes(one), 0);
    const withSound = chosen.filter((one) => one.sound).length;
    const names = chosen.length === 1 ? chosen[0].clip.name : `${chosen.length} clips`;
    const told = withSound && chosen.length > 1 ? `, ${withSound} with a sound file` : "";
    find("file-name").textContent = chosen.length ? `${names} (${size(total)}${told})` : "Drop clips here, or choose some";
    find("sound-name").textContent = extra ? `${extra.name} (${size(extra.size)})` : "none";
    find("sound-row").hidden = chosen.length > 1;
    send.disabled = !chosen.length || state.request !== null || state.data.disabled;
    stop.hidden = state.request === null;
  };

  file.onchange = () => { text.textContent = ""; show(); };
  sound.onchange = show;
  drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) { file.files = event.dataTransfer.files; show(); }
  };
  stop.onclick = () => { state.stopped = true; state.request?.abort(); };

  // Resolves to {id} or {problem}; {} when it was cancelled.
  const sendOne = (one, asked, onBytes) => new Promise((resolve) => {
    const form = new FormData();
    form.append("run_id", asked.run_id);
    if (asked.label) form.append("label", asked.label);
    form.append("file", one.clip);
    if (one.sound) form.append("audio_file", one.sound);
    const request = new XMLHttpRequest();
    state.request = request;
    show();
    request.upload.onprogress = (event) => onBytes(event.loaded);
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* said below */ }
      const missing = { title: "The upload failed", detail: `The API answered ${request.status}.`, code: "upload-failed", status: request.status };
      resolve(request.status < 300 && answer.id ? { id: answer.id } : { problem: answer.detail ? answer : missing });
    };
    request.onabort = () => resolve({});
    request.onerror = () => resolve({ problem: {
      title: "The API cannot be reached from this browser",
      detail: `Your browser got no answer from ${new URL(asked.url).origin}. Is the clip over the server's limit, does the API run, and is GAPSCOPE_PUBLIC_URL the address that this browser can reach?`,
      code: "upload-unreachable", status: 0,
    } });
    request.open("POST", asked.url);
    request.send(form);
  });

  send.onclick = async () => {
    const queue = clips(), asked = { ...state.data }, refused = [];
    let last = null;
    const total = queue.reduce((sum, one) => sum + bytes(one), 0);
    let before = 0, sent = 0;
    state.stopped = false;
    bar.hidden = false;
    bar.value = 0;
    for (const [index, one] of queue.entries()) {
      const answer = await sendOne(one, asked, (loaded) => {
        bar.value = Math.min(1, (before + loaded) / Math.max(1, total));
        const place = queue.length > 1 ? `clip ${index + 1} of ${queue.length}, ` : "";
        text.textContent = `Uploading: ${place}${Math.round(100 * bar.value)} % of ${size(total)}`;
      });
      before += bytes(one);
      if (answer.id) { sent += 1; last = answer.id; state.trigger("uploaded", last); }
      if (answer.problem) refused.push({ filename: one.clip.name, problem: answer.problem });
      if (state.stopped) break;
    }
    state.request = null;
    bar.hidden = true;
    const which = queue.length > 1 ? `${sent} of ${queue.length} clips uploaded.` : sent ? "Uploaded." : "Nothing was kept.";
    text.textContent = `${state.stopped ? "Cancelled. " : ""}${which}`;
    state.trigger("ended", { id: last, refused });
    show();
  };
  show();
}
