/**
 * <share-box data-copied="Copied">: makes the addresses in it whole, and shows the buttons that copy or share them.
 *
 * A button with `data-copy` or `data-share` names the field that it is for. Without this script the fields are there to be
 * selected by hand.
 */

/** How long a button says that it has copied. */
const SAID = 2_000;

class ShareBox extends HTMLElement {
  connectedCallback(): void {
    for (const field of this.querySelectorAll("input")) {
      // The server does not always know by which address it was found.
      field.value = field.value.replace(/^\/|(src=")\//, `$1${location.origin}/`);
      field.addEventListener("focus", () => field.select());
    }
    for (const button of this.querySelectorAll("button")) {
      const { copy, share } = button.dataset;
      button.hidden = share !== undefined && !navigator.share;
      button.addEventListener(
        "click",
        () => void (copy ? this.#copy(button, copy) : this.#share(share ?? "")),
      );
    }
  }

  #field(id: string): HTMLInputElement {
    return this.querySelector<HTMLInputElement>(`#${id}`)!;
  }

  async #copy(button: HTMLButtonElement, id: string): Promise<void> {
    const field = this.#field(id);
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      // Not over plain HTTP, and not in every frame.
      field.select();
      if (!document.execCommand("copy")) return;
    }
    this.#say(button);
  }

  async #share(id: string): Promise<void> {
    // Who changes their mind has not failed.
    await navigator.share({ title: document.title, url: this.#field(id).value }).catch(() => undefined);
  }

  /** Says that it is copied, on the button and to screen readers. */
  #say(button: HTMLButtonElement): void {
    const status = this.querySelector('[role="status"]')!;
    const words = button.textContent;
    if (status.textContent) return;
    button.textContent = status.textContent = this.dataset.copied ?? "";
    setTimeout(() => {
      button.textContent = words;
      status.textContent = "";
    }, SAID);
  }
}

customElements.define("share-box", ShareBox);
