// Sends a clip straight from the browser to the API, with progress. The file never passes through Streamlit.
// data: {url, run_id, label, accept, disabled}; triggers: `uploaded` (the score's id), `refused` (a problem document).
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const find = (name) => parentElement.querySelector(`[data-part=${name}]`);
  const state = (parentElement.gapscope ??= { request: null });
  const file = find("file"), sound = find("sound"), send = find("send"), drop = find("drop");
  const bar = find("bar"), text = find("text");
  state.data = data;
  file.accept = data.accept;

  const show = () => {
    const chosen = file.files[0], extra = sound.files[0];
    find("file-name").textContent = chosen ? `${chosen.name} (${size(chosen.size)})` : "Drop a clip here, or choose one";
    find("sound-name").textContent = extra ? `${extra.name} (${size(extra.size)})` : "none";
    send.disabled = !chosen || state.request !== null || state.data.disabled;
  };
  const size = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
  const done = (message) => {
    state.request = null;
    bar.hidden = true;
    text.textContent = message;
    show();
  };

  file.onchange = show;
  sound.onchange = show;
  drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) { file.files = event.dataTransfer.files; show(); }
  };

  send.onclick = () => {
    const form = new FormData();
    form.append("run_id", state.data.run_id);
    if (state.data.label) form.append("label", state.data.label);
    form.append("file", file.files[0]);
    if (sound.files[0]) form.append("audio_file", sound.files[0]);
    const request = new XMLHttpRequest();
    state.request = request;
    show();
    bar.hidden = false;
    bar.value = 0;
    text.textContent = "Uploading …";
    request.upload.onprogress = (event) => {
      if (!event.lengthComputable) return;
      bar.value = event.loaded / event.total;
      text.textContent = `Uploading: ${Math.round(100 * bar.value)} % of ${size(event.total)}`;
    };
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* said below */ }
      if (request.status < 300 && answer.id) {
        done("Uploaded.");
        setTriggerValue("uploaded", answer.id);
      } else {
        done("The API refused the clip.");
        const missing = { title: "The upload failed", detail: `The API answered ${request.status}.`, code: "upload-failed", status: request.status };
        setTriggerValue("refused", answer.detail ? answer : missing);
      }
    };
    request.onerror = () => {
      done("The upload did not reach the API.");
      setTriggerValue("refused", {
        title: "The API cannot be reached from this browser",
        detail: `Your browser got no answer from ${state.data.url}. Does the API run, and is GAPSCOPE_PUBLIC_URL the address that this browser can reach?`,
        code: "upload-unreachable", status: 0,
      });
    };
    request.open("POST", state.data.url);
    request.send(form);
  };
  show();
}
