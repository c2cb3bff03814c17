// A grid of clips in one element: a poster frame each, played on hover (muted), chosen by a click.
// data: {items: [{id, title, subtitle, video}], chosen}; trigger: `chosen` (an id).
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const grid = parentElement.querySelector(".grid");
  const wanted = JSON.stringify(data.items.map((item) => item.id));
  if (grid.dataset.items !== wanted) {
    grid.dataset.items = wanted;
    grid.replaceChildren(...data.items.map(card));
  }
  for (const one of grid.children) one.classList.toggle("chosen", one.dataset.id === data.chosen);

  function card(item) {
    const box = document.createElement("button");
    box.type = "button";
    box.className = "card";
    box.dataset.id = item.id;
    box.title = item.id;
    const video = document.createElement("video");
    Object.assign(video, { muted: true, loop: true, playsInline: true, preload: "metadata" });
    if (item.video) video.src = item.video + "#t=0.05";
    const title = document.createElement("span");
    title.className = "title";
    title.textContent = item.title;
    const subtitle = document.createElement("span");
    subtitle.className = "subtitle";
    subtitle.textContent = item.subtitle;
    box.append(video, title, subtitle);
    box.onmouseenter = () => video.play().catch(() => {});
    box.onmouseleave = () => video.pause();
    box.onclick = () => setTriggerValue("chosen", item.id);
    return box;
  }
}
