/**
 * Layout, colors and texts of the pages. With and without JavaScript, unless a test says otherwise.
 */

import { violations } from "../fixtures/accessibility.ts";
import { removeScripts } from "../fixtures/conditions.ts";
import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { EmbedPage, embedPath } from "../pages/embed-page.ts";
import { HomePage } from "../pages/home-page.ts";

const LONG = "_ww.ww_".repeat(7);

test("at 400 % zoom the name and the badge are visible", async ({ page, channelId }) => {
  await page.setViewportSize({ width: 320, height: 200 });
  for (const name of [channelId, (channelId + LONG).slice(0, 64)]) {
    const channelPage = new ChannelPage(page);
    await channelPage.goto(name);
    await expect(page.locator(".channel__name")).toBeInViewport({ ratio: 1 });
    await expect(channelPage.badge.root).toBeInViewport({ ratio: 1 });
  }
});

for (const [width, height] of [
  [1366, 620],
  [667, 375],
] as const) {
  test(`on a screen of ${width}×${height} the name and the badge are visible below the player`, async ({
    page,
    channelId,
  }) => {
    await page.setViewportSize({ width, height });
    const channelPage = new ChannelPage(page);
    await channelPage.goto(channelId);
    await expect(page.locator(".channel__name")).toBeInViewport({ ratio: 1 });
    await expect(channelPage.badge.root).toBeInViewport({ ratio: 1 });
    const player = (await page.locator(".player").boundingBox())!;
    expect((await channelPage.badge.root.boundingBox())!.y).toBeGreaterThan(player.y + player.height);
  });
}

test("a channel page links to the home page and to other channels", async ({ page, channelId, audience }) => {
  // The page links to the channels with the most viewers.
  await audience.join(`${channelId}-b`, 70);
  await new ChannelPage(page).goto(channelId);
  await page.getByRole("link", { name: `${channelId}-b` }).click();
  await expect(page).toHaveURL(`/${channelId}-b`);
  await page.getByRole("link", { name: "Aforo" }).click();
  await expect(page).toHaveURL("/");
});

test("the badges of a list have the same width for any count", async ({ page, channelId, audience }) => {
  const [few, many] = [`${channelId}-few`, `${channelId}-many`];
  await audience.join(few, 80);
  await audience.join(many, 101);
  const home = new HomePage(page);
  await home.goto();
  const width = async (channel: string) => (await home.badge(channel).boundingBox())!.width;
  expect(await width(few)).toBe(await width(many));
});

test("focus and hover don't use red, which marks only live counts", async ({ page, channelId }) => {
  await new ChannelPage(page).goto(channelId);
  const follow = page.locator(".follow-button");
  const outlineColor = () => follow.evaluate((button) => getComputedStyle(button).outlineColor);
  const text = await page.locator("body").evaluate((body) => getComputedStyle(body).color);
  await page.locator(".brand__home").focus();
  for (let i = 0; i < 9 && !(await follow.evaluate((button) => button.matches(":focus"))); i += 1) {
    await page.keyboard.press("Tab");
  }
  await expect(follow).toBeFocused();
  expect(await outlineColor()).toBe(text);
  await follow.hover();
  await expect(follow).toHaveCSS("border-top-color", "rgb(120, 113, 108)");
});

for (const { locale, invalid, missing } of [
  { locale: "es-ES", invalid: /^Ese nombre no es válido/, missing: "Escribe el nombre de un canal." },
  { locale: "en-GB", invalid: /^That name isn’t valid/, missing: "Enter the name of a channel." },
  { locale: "pt-BR", invalid: /^Esse nome não é válido/, missing: "Digite o nome de um canal." },
]) {
  test(`the form shows its errors in the language of ${locale}`, async ({ newVisitor }) => {
    const page = await newVisitor({ locale });
    const home = new HomePage(page);
    const error = page.locator(".home__error");
    await home.goto();
    await expect(error).toBeHidden();
    await home.openChannel("a b");
    await expect(page).toHaveURL("/?channel=a+b");
    await expect(error).toHaveText(invalid);
    await expect(error).toBeVisible();
    const field = page.locator("#channel");
    await expect(field).toHaveValue("a b");
    await expect(field).toHaveAttribute("aria-invalid", "true");
    await home.openChannel("");
    await expect(error).toHaveText(missing);
    await expect(error).toBeVisible();
  });
}

for (const [state, words] of [
  ["stale", "Este número puede estar desactualizado: no llegan datos nuevos."],
  ["unknown", "El número de espectadores no está disponible en este momento."],
] as const) {
  test(
    `the page explains a ${state} badge, except in small frames`,
    { tag: "@js" },
    async ({ newVisitor, channelId }) => {
      const page = await newVisitor({ javaScriptEnabled: true });
      await removeScripts(page, state);
      for (const path of [`/${channelId}`, embedPath(channelId, true)]) {
        await page.goto(path);
        await expect(page.getByText(words)).toBeVisible();
      }
      await page.setViewportSize({ width: 160, height: 90 });
      await expect(page.getByText(words)).toBeHidden();
    },
  );
}

test("the page shows no explanation for a live badge", async ({ page, channelId }) => {
  await new ChannelPage(page).goto(channelId);
  for (const note of await page.locator(".note").all()) await expect(note).toBeHidden();
});

test(
  "stale and unknown badges differ from live ones by more than color",
  { tag: "@js" },
  async ({ newVisitor, channelId }) => {
    const page = await newVisitor({ javaScriptEnabled: true });
    const styles = [];
    for (const state of ["live", "stale", "unknown"]) {
      await removeScripts(page, state);
      const channelPage = new ChannelPage(page);
      await channelPage.goto(channelId);
      const outline = await channelPage.badge.root.evaluate((badge) => getComputedStyle(badge).outlineStyle);
      styles.push(
        [outline, await channelPage.badge.dot.evaluate((dot) => getComputedStyle(dot).visibility)].join(),
      );
      await page.unrouteAll();
    }
    expect(styles).toEqual(["none,visible", "dashed,visible", "none,hidden"]);
  },
);

test(
  "in forced colors a badge has a dot and an outline, which is strongest for live counts",
  { tag: "@js" },
  async ({ newVisitor, channelId }) => {
    const page = await newVisitor({ javaScriptEnabled: true, forcedColors: "active" });
    const outlines: Record<string, number> = {};
    for (const state of ["live", "stale", "unknown"]) {
      await removeScripts(page, state);
      const channelPage = new ChannelPage(page);
      await channelPage.goto(channelId);
      outlines[state] = await channelPage.badge.root.evaluate((badge) => {
        const style = getComputedStyle(badge);
        return style.outlineStyle === "solid" ? parseFloat(style.outlineWidth) : 0.5;
      });
      const [dotColor, pageColor] = await channelPage.badge.dot.evaluate((dot) => [
        getComputedStyle(dot).backgroundColor,
        getComputedStyle(document.body).backgroundColor,
      ]);
      if (state === "live") expect(dotColor).not.toBe(pageColor);
      expect((await channelPage.badge.root.boundingBox())!.height).toBe(36);
      expect(await violations(page)).toEqual([]);
      await page.unrouteAll();
    }
    expect(outlines).toEqual({ live: 2, stale: 0.5, unknown: 0.5 });
  },
);

for (const [width, height] of [
  [160, 90],
  [320, 180],
  [400, 400],
  [800, 200],
] as const) {
  test(`in a frame of ${width}×${height} the player's message is centered and does not overlap the badge`, async ({
    page,
    channelId,
  }) => {
    await page.setViewportSize({ width, height });
    const embed = new EmbedPage(page);
    await embed.goto(channelId, true);
    const message = (await page.locator(".player__poster:visible").boundingBox())!;
    expect(message.x + message.width / 2).toBeCloseTo(width / 2, 0);
    expect(Math.abs(message.y + message.height / 2 - height / 2)).toBeLessThan(1);
    const text = await page.locator(".player__poster:visible").evaluate((poster) => {
      const range = document.createRange();
      range.selectNodeContents(poster);
      return range.getBoundingClientRect().top;
    });
    const badge = (await embed.badge.root.boundingBox())!;
    expect(text).toBeGreaterThanOrEqual(badge.y + badge.height);
  });
}

for (const [width, height] of [
  [320, 200],
  [480, 280],
] as const) {
  test(
    `in a frame of ${width}×${height} the explanation of a stale badge does not cover the message`,
    { tag: "@js" },
    async ({ newVisitor, channelId }) => {
      const page = await newVisitor({ javaScriptEnabled: true, viewport: { width, height } });
      await removeScripts(page, "stale");
      await page.goto(embedPath(channelId, true));
      await expect(new EmbedPage(page).badge.root).toBeVisible();
      const message = await page.locator(".player__poster:visible").evaluate((poster) => {
        const range = document.createRange();
        range.selectNodeContents(poster);
        return range.getBoundingClientRect().top;
      });
      for (const note of await page.locator(".note:visible").all()) {
        const { y, height } = (await note.boundingBox())!;
        expect(y + height).toBeLessThanOrEqual(message);
      }
    },
  );
}

test("the legend of the badges opens with and without JavaScript", async ({ page }) => {
  await new HomePage(page).goto();
  const legend = page.locator(".legend");
  await legend.getByText("Qué significan los colores").click();
  await expect(legend.getByText("Sin datos por ahora.")).toBeVisible();
  await expect(legend.locator(".viewer-counter-sample")).toHaveCount(3);
  await expect(legend.locator(".viewer-counter"), "only counts of channels have the class").toHaveCount(0);
});

for (const colorScheme of ["light", "dark"] as const) {
  test(
    `an invalid name and the open legend are accessible in the ${colorScheme} theme`,
    { tag: "@js" },
    async ({ newVisitor }) => {
      // A row of the live list that fades in would lack contrast for a moment.
      const page = await newVisitor({ colorScheme, reducedMotion: "reduce", javaScriptEnabled: true });
      await page.goto("/?channel=a%20b");
      await page.locator(".legend summary").click();
      expect(await violations(page)).toEqual([]);
    },
  );
}
