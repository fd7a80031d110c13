/**
 * <follow-button followers="12">, around the form of the page: shows whether this browser follows the channel, toggles at
 * once, and settles with the server's answer; if there is none, everything is as before. Served as /follow-button.js.
 *
 * Whether this browser follows is what the server says: it is asked when the page opens. Until it answers, what it said
 * last is shown, which is noted in the browser's storage, beside the id that it follows by; other tabs see that, too.
 *
 * The server is told what is wished and not to toggle, so that a call that is sent twice does no harm; one call at a time,
 * so that the last wish is the one that stays.
 */

import { viewerId } from "./browser.ts";

interface Followed {
  following: boolean;
  /** Unknown is null. */
  followers: number | null;
}

class FollowButton extends HTMLElement {
  #form!: HTMLFormElement;
  #state: Followed = { following: false, followers: null };
  #settling: Promise<void> | undefined;

  connectedCallback() {
    this.#form = this.querySelector("form")!;
    this.#form.addEventListener("submit", this.#submit);
    addEventListener("storage", this.#noted);
    const followers = this.getAttribute("followers");
    this.#show({ following: this.#note === "1", followers: followers ? Number(followers) : null });
    // A click before this ran was a form, and brought the visitor back with a fragment. So may a link that was shared.
    if (location.hash === "#following") history.replaceState(null, "", location.pathname + location.search);
    void this.#learn();
  }

  disconnectedCallback() {
    this.#form.removeEventListener("submit", this.#submit);
    removeEventListener("storage", this.#noted);
  }

  readonly #submit = (event: Event) => {
    event.preventDefault();
    this.#toggle();
  };

  /** Another tab has followed, or not any more. */
  readonly #noted = ({ key }: StorageEvent) => {
    if (key !== this.#key) return;
    this.#show({ ...this.#state, following: this.#note === "1" });
    void this.#learn();
  };

  get #channel() {
    return this.#form.querySelector<HTMLInputElement>("[name=channelId]")!.value;
  }

  get #key() {
    return `aforo.follows.${this.#channel}`;
  }

  get #note() {
    try {
      return localStorage.getItem(this.#key);
    } catch {
      return null;
    }
  }

  /** Notes what the server has said. */
  #remember(following: boolean) {
    try {
      if (following) localStorage.setItem(this.#key, "1");
      else localStorage.removeItem(this.#key);
    } catch {
      // Refused, or full.
    }
  }

  #show(state: Followed) {
    this.#state = state;
    this.querySelector("button")!.setAttribute("aria-pressed", String(state.following));
    this.querySelector(".follow-button__number")!.textContent =
      state.followers?.toLocaleString(document.documentElement.lang) ?? "—";
  }

  /** Asks whether this browser follows. A wish that was made meanwhile is newer than the answer. */
  async #learn() {
    const before = this.#state;
    const answer = await this.#call(`/${this.#channel}`, { headers: { "aforo-viewer": viewerId() } });
    if (!answer || this.#settling || this.#state !== before) return;
    this.#remember(answer.following);
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
    // A call that is under way is followed by another if this is not what came of it.
    this.#settling ??= this.#settle(known).finally(() => (this.#settling = undefined));
  }

  async #settle(known: Followed): Promise<void> {
    for (;;) {
      const { following } = this.#state;
      const answer = await this.#wish(following);
      if (answer) {
        known = answer;
        this.#remember(answer.following);
      }
      if (!answer || this.#state.following === following) return this.#show(known);
    }
  }

  #wish(follow: boolean) {
    return this.#call("", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ channelId: this.#channel, viewerId: viewerId(), follow }),
    });
  }

  async #call(path: string, init: RequestInit): Promise<Followed | undefined> {
    try {
      const response = await fetch(this.#form.action + path, init);
      return response.ok ? ((await response.json()) as Followed) : undefined;
    } catch {
      return undefined;
    }
  }
}

customElements.define("follow-button", FollowButton);
