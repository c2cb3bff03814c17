// Sends a zip of clips straight from the browser to the API, with progress. The file never passes through Streamlit.
// data: {url, spec}; triggers: `uploaded` (the dataset's id), `refused` (a problem document).
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const find = (name) => parentElement.querySelector(`[data-part=${name}]`);
  const state = (parentElement.gapscope ??= { request: null });
  const file = find("file"), send = find("send"), stop = find("stop"), drop = find("drop");
  const bar = find("bar"), text = find("text");
  state.data = data;

  const size = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
  const show = () => {
    const chosen = file.files[0];
    find("file-name").textContent = chosen ? `${chosen.name} (${size(chosen.size)})` : "Drop a zip here, or choose one";
    send.disabled = !chosen || state.request !== null;
    stop.hidden = state.request === null;
  };
  const done = (message) => {
    state.request = null;
    bar.hidden = true;
    text.textContent = message;
    show();
  };
  const refuse = (title, detail, code) => setTriggerValue("refused", { title, detail, code, status: 0 });

  file.onchange = () => { text.textContent = ""; show(); };
  drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) { file.files = event.dataTransfer.files; show(); }
  };
  stop.onclick = () => state.request?.abort();

  send.onclick = () => {
    const form = new FormData();
    const name = find("id").value.trim();
    if (name) form.append("id", name);
    form.append("spec", state.data.spec);
    form.append("file", file.files[0]);
    const request = new XMLHttpRequest();
    const begun = performance.now();
    state.request = request;
    show();
    bar.hidden = false;
    bar.value = 0;
    text.textContent = "Uploading …";
    request.upload.onprogress = (event) => {
      if (!event.lengthComputable) return;
      bar.value = event.loaded / event.total;
      const rate = event.loaded / Math.max(0.2, (performance.now() - begun) / 1e3);
      const left = Math.ceil((event.total - event.loaded) / rate);
      text.textContent = `${Math.round(100 * bar.value)} % of ${size(event.total)}, ${size(rate)} a second, ${left} s left`;
    };
    request.upload.onload = () => { bar.removeAttribute("value"); text.textContent = "Checking and unpacking …"; };
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* said below */ }
      if (request.status < 300 && answer.id) {
        done("Uploaded.");
        setTriggerValue("uploaded", answer.id);
      } else {
        done("The API refused the zip.");
        if (answer.detail) setTriggerValue("refused", answer);
        else refuse("The upload failed", `The API answered ${request.status}.`, "upload-failed");
      }
    };
    request.onabort = () => done("Cancelled; nothing was kept.");
    request.onerror = () => {
      done("The upload did not reach the API.");
      refuse(
        "The upload did not reach the API",
        `Your browser got no answer from ${new URL(state.data.url).origin}. Is the zip over the server's limit (GAPSCOPE_MAX_ZIP_BYTES), ` +
          "does the API run, and is GAPSCOPE_PUBLIC_URL the address that this browser can reach?",
        "upload-unreachable",
      );
    };
    request.open("POST", state.data.url);
    request.send(form);
  };
  show();
}
