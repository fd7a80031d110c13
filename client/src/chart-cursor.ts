/**
 * The value of an instant in a chart of the statistics page: under the pointer, at a tap, or by the arrow keys on the
 * chart's slider. The values are read from the table behind the chart, so both say the same.
 */

/** The instant that is shown, in seconds since the start of the range. It survives a refresh of the chart. */
let shownAt: number | undefined;

/** Makes the chart in this section respond. */
export const attachCursor = (section: HTMLElement): void => {
  const find = <E extends Element>(selector: string) => section.querySelector<E>(selector)!;
  const slider = find<HTMLInputElement>(".chart__slider");
  const space = find<HTMLElement>(".chart__space");
  const mark = find("[data-cursor]");
  const readout = find<HTMLElement>("[data-readout]");
  const { rows } = find<HTMLTableSectionElement>("[data-rows]");
  const names = [...section.querySelectorAll("thead th")].map((name) => name.textContent);
  const starts = section.dataset.starts!.split(" ").map(Number);
  const span = +section.dataset.span!;

  const show = (index: number) => {
    const row = rows[index];
    if (!row) return;
    shownAt = starts[index]!;
    const end = starts[index + 1] ?? span;
    mark.setAttribute("x", (shownAt / span) * 100 + "%");
    mark.setAttribute("width", Math.max((end - shownAt) / span, 0.001) * 100 + "%");
    mark.setAttribute("visibility", "visible");
    const [time, ...values] = [...row.cells].map((cell) => cell.textContent!);
    const isKnown = /\d/.test(values[0]!);
    const said = isKnown ? values.map((value, i) => names[i + 1] + " " + value) : [section.dataset.gap];
    readout.textContent = [time, ...said].join(" · ");
    slider.value = String(index);
    slider.setAttribute("aria-valuetext", readout.textContent);
  };

  const hide = () => {
    shownAt = undefined;
    mark.setAttribute("visibility", "hidden");
    readout.textContent = readout.dataset.hint!;
  };

  /** The step that contains an instant. */
  const indexAt = (seconds: number) => {
    const next = starts.findIndex((start) => start > seconds);
    return (next < 0 ? starts.length : Math.max(next, 1)) - 1;
  };

  const point = ({ clientX }: PointerEvent) => {
    const { left, width } = space.getBoundingClientRect();
    show(indexAt(((clientX - left) / width) * span));
  };
  space.addEventListener("pointermove", point);
  space.addEventListener("pointerdown", point);
  // A finger leaves when it is lifted; what it has touched stays.
  space.addEventListener("pointerleave", ({ pointerType }) => {
    if (pointerType === "mouse" && document.activeElement !== slider) hide();
  });
  slider.addEventListener("input", () => show(+slider.value));
  slider.addEventListener("focus", () => show(+slider.value));
  slider.addEventListener("blur", hide);

  slider.hidden = false;
  const before = shownAt;
  hide();
  if (before !== undefined) show(indexAt(before));
};
