/**
 * <share-box data-copied="Copied">: completes the URLs in its fields, and shows the buttons that copy or share them.
 *
 * `data-copy` or `data-share` of a button is the id of its field. Without this script, the fields can be copied by
 * hand.
 */

/** How long a button shows that its field was copied, in milliseconds. */
const CONFIRMATION_TIME = 2_000;

class ShareBox extends HTMLElement {
  connectedCallback(): void {
    for (const field of this.querySelectorAll("input")) {
      // The server may not know its public origin; then its URLs begin with a slash.
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
      // The Clipboard API needs a secure context and, in frames, a permission.
      field.select();
      if (!document.execCommand("copy")) return;
    }
    this.#confirm(button);
  }

  async #share(id: string): Promise<void> {
    // Canceling the share dialog rejects the promise; that is not an error.
    await navigator.share({ title: document.title, url: this.#field(id).value }).catch(() => undefined);
  }

  /** Confirms the copy on the button and to screen readers. */
  #confirm(button: HTMLButtonElement): void {
    const status = this.querySelector('[role="status"]')!;
    const label = button.textContent;
    if (status.textContent) return;
    button.textContent = status.textContent = this.dataset.copied ?? "";
    setTimeout(() => {
      button.textContent = label;
      status.textContent = "";
    }, CONFIRMATION_TIME);
  }
}

customElements.define("share-box", ShareBox);
