/**
 * <follow-button followers="12">, around the form of the page: shows whether this browser follows the channel, toggles at
 * once, and settles with the server's answer; if there is none, everything is as before.
 *
 * What this browser follows is noted in its storage, beside the id that it follows by. The server is told what is wished and
 * not to toggle, so that a call that is sent twice does no harm; one call at a time, so that the last wish is the one that
 * stays.
 */

/** A fresh UUID; `randomUUID` is missing on plain HTTP. */
const newId = () => URL.createObjectURL(new Blob()).slice(-36);

/** What is kept where storage is refused: as long as the page lives. */
const kept = {};
const storage = (() => {
  try {
    return localStorage;
  } catch {
    return kept;
  }
})();

const viewerId = () => (storage["aforo.viewer"] ??= newId());

class FollowButton extends HTMLElement {
  connectedCallback() {
    this.form = this.querySelector("form");
    this.button = this.querySelector("button");
    this.number = this.querySelector(".follow-button__number");
    this.key = `aforo.follows.${this.form.elements.channelId.value}`;
    const followers = this.getAttribute("followers");
    // A click before this ran was a form, and brought the visitor back with this fragment.
    if (location.hash === "#following") {
      this.remember(true);
      history.replaceState(null, "", location.pathname + location.search);
    }
    this.show({ following: Boolean(storage[this.key]), followers: followers && Number(followers) });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.toggle();
    });
  }

  remember(following) {
    try {
      if (following) storage[this.key] = "1";
      else delete storage[this.key];
    } catch {
      // A full storage refuses.
    }
  }

  show(state) {
    this.state = state;
    this.button.ariaPressed = String(state.following);
    this.number.textContent = state.followers?.toLocaleString(document.documentElement.lang) ?? "—";
  }

  toggle() {
    const { following, followers } = this.state;
    const known = this.state;
    const step = following ? -1 : 1;
    this.show({ following: !following, followers: followers == null ? null : Math.max(followers + step, 0) });
    // Who is asking already asks again if this is not what came of it.
    this.settling ??= this.settle(known).finally(() => (this.settling = undefined));
  }

  async settle(known) {
    for (;;) {
      const { following } = this.state;
      const answer = await this.ask(following);
      if (answer) {
        known = answer;
        this.remember(answer.following);
      }
      if (!answer || this.state.following === following) return this.show(known);
    }
  }

  async ask(follow) {
    try {
      const channelId = this.form.elements.channelId.value;
      const response = await fetch(this.form.action, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ channelId, viewerId: viewerId(), follow }),
      });
      return response.ok ? await response.json() : undefined;
    } catch {
      return undefined;
    }
  }
}

customElements.define("follow-button", FollowButton);
