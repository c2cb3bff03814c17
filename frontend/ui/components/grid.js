// A grid of clips in one element: a poster each, played on hover (muted), chosen by a click or Enter.
// data: {items: [{id, title, subtitle, video, poster, verdicts: [{name, is_right}]}], chosen, wrong}; trigger: `chosen` (an id).
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const grid = parentElement.querySelector(".grid");
  grid.style.setProperty("--wrong", data.wrong);
  const wanted = JSON.stringify(data.items.map((item) => item.id));
  if (grid.dataset.items !== wanted) {
    grid.dataset.items = wanted;
    grid.replaceChildren(...data.items.map(card));
  }
  for (const one of grid.children) {
    one.classList.toggle("chosen", one.dataset.id === data.chosen);
    one.setAttribute("aria-pressed", String(one.dataset.id === data.chosen));
  }

  function card(item) {
    const box = document.createElement("button");
    box.type = "button";
    box.className = "card";
    box.dataset.id = item.id;
    box.title = item.id;
    const picture = document.createElement("div");
    picture.className = "picture";
    if (item.poster) {
      const image = document.createElement("img");
      Object.assign(image, { loading: "lazy", alt: "", src: item.poster });
      picture.append(image);
    } else if (item.video) {
      picture.append(player(item, "metadata"));
    }
    const title = document.createElement("span");
    title.className = "title";
    title.textContent = item.title;
    const subtitle = document.createElement("span");
    subtitle.className = "subtitle";
    subtitle.textContent = item.subtitle;
    box.append(picture, title, subtitle);
    if (item.verdicts?.length) box.append(verdicts(item.verdicts));
    box.onmouseenter = () => {
      if (!item.video) return;
      if (!picture.querySelector("video")) picture.append(player(item, "none"));
      picture.querySelector("video").play().catch(() => {});
    };
    box.onmouseleave = () => {
      const video = picture.querySelector("video");
      if (video) video.pause();
      if (video && item.poster) video.remove();
    };
    box.onclick = () => setTriggerValue("chosen", item.id);
    return box;
  }

  function player(item, preload) {
    const video = document.createElement("video");
    Object.assign(video, { muted: true, loop: true, playsInline: true, preload });
    video.src = item.video + "#t=0.05";
    return video;
  }

  function verdicts(all) {
    const line = document.createElement("span");
    line.className = "verdicts";
    for (const one of all) {
      const mark = document.createElement("span");
      const said = one.is_right === null ? "no answer" : one.is_right ? "right" : "wrong";
      mark.className = "verdict " + said.replace(" ", "-");
      mark.textContent = (one.is_right === null ? "–" : one.is_right ? "✓" : "✗") + " " + one.name;
      mark.setAttribute("role", "img");
      mark.setAttribute("aria-label", one.name + ": " + said);
      line.append(mark);
    }
    return line;
  }
}
