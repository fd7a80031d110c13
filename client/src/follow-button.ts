/**
 * <follow-button followers="12">, around the page's form: shows whether this browser follows the channel. A click
 * changes the button at once; then the button shows the server's response or, if the request fails, its previous state.
 * Served as /follow-button.js.
 *
 * The server knows whether this browser follows; the element asks when the page opens, and when the visitor comes back to
 * it. Until the response arrives it shows the last known state, which is kept in `localStorage` and shared with other tabs.
 *
 * A request names the wanted state ("follow" or "don't follow") rather than "toggle", so sending it twice is harmless.
 * Only one request is under way at a time, so the last click wins.
 */

import { viewerId } from "./browser.ts";

interface FollowState {
  following: boolean;
  /** `null` if unknown. */
  followers: number | null;
}

class FollowButton extends HTMLElement {
  #form!: HTMLFormElement;
  #state: FollowState = { following: false, followers: null };
  #settling: Promise<void> | undefined;

  connectedCallback() {
    this.#form = this.querySelector("form")!;
    this.#form.addEventListener("submit", this.#submit);
    addEventListener("storage", this.#changedElsewhere);
    addEventListener("pageshow", this.#shownAgain);
    const followers = this.getAttribute("followers");
    this.#show({ following: this.#stored === "1", followers: followers ? Number(followers) : null });
    void this.#refresh();
  }

  disconnectedCallback() {
    this.#form.removeEventListener("submit", this.#submit);
    removeEventListener("storage", this.#changedElsewhere);
    removeEventListener("pageshow", this.#shownAgain);
  }

  readonly #submit = (event: Event) => {
    event.preventDefault();
    this.#toggle();
  };

  /** Another tab changed the stored state. */
  readonly #changedElsewhere = ({ key }: StorageEvent) => {
    if (key === this.#key) this.#reread();
  };

  /** The page was in the back/forward cache, where it hears nothing of other pages. */
  readonly #shownAgain = ({ persisted }: PageTransitionEvent) => {
    // A click whose request is under way is newer.
    if (persisted && !this.#settling) this.#reread();
  };

  #reread() {
    this.#show({ ...this.#state, following: this.#stored === "1" });
    void this.#refresh();
  }

  get #channel() {
    return this.#form.querySelector<HTMLInputElement>("[name=channelId]")!.value;
  }

  get #key() {
    return `aforo.follows.${this.#channel}`;
  }

  get #stored() {
    try {
      return localStorage.getItem(this.#key);
    } catch {
      return null;
    }
  }

  /** Stores the state from the server's response. */
  #store(following: boolean) {
    try {
      if (following) localStorage.setItem(this.#key, "1");
      else localStorage.removeItem(this.#key);
    } catch {
      // Storage is refused or full.
    }
  }

  #show(state: FollowState) {
    this.#state = state;
    this.querySelector("button")!.setAttribute("aria-pressed", String(state.following));
    this.querySelector(".follow-button__number")!.textContent =
      state.followers?.toLocaleString(document.documentElement.lang) ?? "—";
  }

  /** Fetches the state from the server. A click made in the meantime is newer than the response. */
  async #refresh() {
    const before = this.#state;
    const answer = await this.#call(`/${this.#channel}`, { headers: { "aforo-viewer": viewerId() } });
    if (!answer || this.#settling || this.#state !== before) return;
    this.#store(answer.following);
    this.#show(answer);
  }

  #toggle() {
    const known = this.#state;
    const following = !known.following;
    const step = following ? 1 : -1;
    this.#show({
      following,
      followers: known.followers === null ? null : Math.max(known.followers + step, 0),
    });
    // If a request is under way, `#settle` sends another one when the wanted state has changed.
    this.#settling ??= this.#settle(known).finally(() => (this.#settling = undefined));
  }

  async #settle(known: FollowState): Promise<void> {
    for (;;) {
      const { following } = this.#state;
      const answer = await this.#request(following);
      if (answer) {
        known = answer;
        this.#store(answer.following);
      }
      if (!answer || this.#state.following === following) return this.#show(known);
    }
  }

  #request(follow: boolean) {
    return this.#call("", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ channelId: this.#channel, viewerId: viewerId(), follow }),
    });
  }

  async #call(path: string, init: RequestInit): Promise<FollowState | undefined> {
    try {
      const response = await fetch(this.#form.action + path, init);
      return response.ok ? ((await response.json()) as FollowState) : undefined;
    } catch {
      return undefined;
    }
  }
}

customElements.define("follow-button", FollowButton);
