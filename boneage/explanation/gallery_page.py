"""The gallery's page, which opens from disk without a network and sorts and filters."""

import html
import math
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

from boneage.explanation import overlays
from boneage.explanation.captions import signed_limit
from boneage.io.files import atomic_write


def write(
    path: Path,
    title: str,
    kind: str,
    hands: Sequence[dict],
    limit_months: float,
    evolution: Path | None,
) -> None:
    """Write the page, which needs only the pictures in its folder.

    Args:
        path: the page.
        title: name of the network and the part.
        kind: of map, a key of LEGENDS.
        hands: the facts on each card, in the order first shown: id, file, sex, true,
            predicted, error (text), true_months, error_months (NaN if unknown).
        limit_months: where the colour scale ends.
        evolution: the video in the same folder, if there is one.
    """
    ends = overlays.colour_bar(3, 1)[0]
    errors = [abs(hand["error_months"]) for hand in hands]
    known = [error for error in errors if not math.isnan(error)]
    mae = sum(known) / max(len(known), 1)
    text = Template(PAGE).substitute(
        title=html.escape(title),
        count=len(hands),
        agreement=f"mean absolute error among them {mae:.1f} months"
        if known
        else "of unknown age",
        legend=LEGENDS[kind],
        gradient=", ".join("rgb({}, {}, {})".format(*colour) for colour in ends),
        least=signed_limit(-limit_months),
        greatest=signed_limit(limit_months),
        link=LINK if evolution else "",
        evolution=Template(VIDEO).substitute(source=evolution.name)
        if evolution
        else "",
        cards="".join(Template(CARD).substitute(hand) for hand in hands),
    )
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def shown_files(path: Path) -> set[str]:
    """File names of the overlays that a page shows; none where there is no page."""
    if not path.is_file():
        return set()
    text = path.read_text(encoding="utf-8", errors="replace")
    return set(re.findall(r'<a href="([^"/]+\.png)">', text))


LEGENDS = {
    "exact": """The maps are exact: the mean of a map's cells and one constant add up to
the prediction. Orange: the region raises the predicted age more than the average region
does; blue: it raises it less, or lowers it; uncoloured: like the average. A cell is a
contribution, not an age of its own, and it also depends on its surroundings.""",
    "occlusion": """The maps show how the prediction changes when a region is blurred.
Orange: the region makes the hand look older, so without it the predicted age falls;
blue: it makes the hand look younger; uncoloured: the prediction stays the same. The
changes do not add up to the prediction.""",
}
"""Kind of map -> what its colours mean."""

CARD = """
<figure data-id="$id" data-sex="$sex" data-age="$true_months"
        data-error="$error_months">
  <a href="$file"><img src="$file" width="512" height="512" loading="lazy"
    alt="Hand $id under its activation map, $sex, true $true, predicted $predicted"></a>
  <figcaption><b>$id</b> $sex <span>$error</span><br>
    true $true, predicted $predicted</figcaption>
</figure>"""

LINK = """
<a href="#training">How the maps formed during training.</a>"""

VIDEO = """
<section>
  <h2 id="training">During training</h2>
  <p>Exact activation maps of a few hands after each epoch, on the colour scale of the
  last epoch.</p>
  <video src="$source" controls loop muted playsinline></video>
</section>"""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Activation maps: $title</title>
<style>
  body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff;
         margin: 1.5rem auto; max-width: 90rem; padding: 0 1.5rem }
  h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.15rem; margin-top: 2rem }
  p { max-width: 46rem; margin: .4rem 0 }
  .scale { display: flex; flex-wrap: wrap; gap: .2rem .6rem; margin: .8rem 0;
           align-items: center }
  .scale i { width: 14rem; height: .8rem;
             background: linear-gradient(to right, $gradient) }
  form { display: flex; flex-wrap: wrap; gap: .6rem .7rem; align-items: center;
         background: #fff; padding: .7rem 0; border-bottom: 1px solid #ccc }
  @media (min-width: 50rem) { form { position: sticky; top: 0; z-index: 1 } }
  select, input, button { font: inherit; padding: .15rem .35rem }
  input { width: 3rem }
  #hands { display: grid; gap: 1.1rem; margin-top: 1.1rem;
           grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)) }
  figure { margin: 0 } figure[hidden] { display: none }
  figure img { width: 100%; height: auto; aspect-ratio: 1; object-fit: cover;
               object-position: top; display: block; background: #000 }
  figcaption { padding-top: .3rem } figcaption span { float: right }
  a:focus-visible, select:focus-visible, input:focus-visible, button:focus-visible
    { outline: 3px solid #0072b2; outline-offset: 2px }
  video { max-width: 100%; border: 1px solid #ccc }
</style>
<h1>Activation maps: $title</h1>
<p>$count hands, $agreement. Click a hand to enlarge it.$link</p>
<p>$legend</p>
<div class="scale">looks younger $least <i></i> $greatest months looks older</div>
<form id="controls">
  <label>Sort by <select name="order">
    <option value="error -1">error, greatest first</option>
    <option value="error 1">error, least first</option>
    <option value="age 1">true age, youngest first</option>
    <option value="age -1">true age, oldest first</option>
    <option value="id 1">id</option>
  </select></label>
  <label>Sex <select name="sex">
    <option value="">both</option><option>male</option><option>female</option>
  </select></label>
  <span>True age <label>from <input name="youngest" type="number" min="0" step="any">
    </label> <label>to <input name="oldest" type="number" min="0" step="any"></label>
    years</span>
  <span>Error <label>from <input name="least" type="number" min="0" step="any">
    </label> <label>to <input name="greatest" type="number" min="0" step="any"></label>
    months</span>
  <button type="reset">Show all</button>
  <output name="count" aria-live="polite">$count of $count hands</output>
</form>
<main id="hands">$cards
</main>$evolution
<script>
  const form = document.getElementById("controls");
  const hands = document.getElementById("hands");
  const cards = Array.from(hands.querySelectorAll("figure"));
  // beyond all others, where the true age is unknown
  const known = text => text === "nan" ? Infinity : Number(text);
  const facts = new Map(cards.map(card => [card, {
    id: card.dataset.id,
    sex: card.dataset.sex,
    age: known(card.dataset.age),
    error: Math.abs(known(card.dataset.error)),
  }]));
  const within = (value, from, to) =>
    (from === "" || value >= Number(from)) && (to === "" || value <= Number(to));

  function show() {
    const chosen = Object.fromEntries(new FormData(form));
    const [key, direction] = chosen.order.split(" ");
    const byId = (a, b) =>
      facts.get(a).id.localeCompare(facts.get(b).id, "en", { numeric: true });
    cards.sort((a, b) => key !== "id"
      && direction * (facts.get(a)[key] - facts.get(b)[key]) || byId(a, b));
    let count = 0;
    for (const card of cards) {
      const hand = facts.get(card);
      card.hidden = !((chosen.sex === "" || hand.sex === chosen.sex)
        && within(hand.age / 12, chosen.youngest, chosen.oldest)
        && within(hand.error, chosen.least, chosen.greatest));
      count += !card.hidden;
    }
    hands.append(...cards);
    form.elements.count.value = count + " of " + cards.length + " hands";
  }
  form.addEventListener("input", show);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show));
  show();
</script>
</html>
"""
