/**
 * Every page as a document: path, status, language, title, small screens and accessibility. With and without
 * JavaScript.
 */

import { violations } from "../fixtures/accessibility.ts";
import { removeScripts } from "../fixtures/conditions.ts";
import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { embedPath } from "../pages/embed-page.ts";
import { HomePage } from "../pages/home-page.ts";

const INVALID_CHANNEL = "/a%20b";

const PAGES: { name: string; path: (channelId: string) => string; status: number }[] = [
  { name: "the home page", path: () => "/", status: 200 },
  { name: "the channel page", path: (channelId) => `/${channelId}`, status: 200 },
  { name: "the player", path: (channelId) => embedPath(channelId), status: 200 },
  { name: "the player with the badge", path: (channelId) => embedPath(channelId, true), status: 200 },
  { name: "the 404 page", path: () => INVALID_CHANNEL, status: 404 },
];

test("the form on the home page opens the entered channel", async ({ page, channelId }) => {
  const home = new HomePage(page);
  await home.goto();
  await home.openChannel(channelId);
  await expect(page).toHaveURL(`/${channelId}`);
  await expect(page).toHaveTitle(channelId);
  await expect(new ChannelPage(page).badge.root).toBeVisible();
});

for (const { locale, lang, page: noPage, name: noName } of [
  {
    locale: "es-ES",
    lang: "es",
    page: "Página no encontrada",
    name: "Nombre de canal no válido",
  },
  { locale: "en-US", lang: "en", page: "Page not found", name: "Invalid channel name" },
  {
    locale: "pt-BR",
    lang: "pt",
    page: "Página não encontrada",
    name: "Nome de canal inválido",
  },
]) {
  test(`invalid names and unknown paths return 404 and a page in the language of ${locale}`, async ({
    newVisitor,
    faults,
  }) => {
    faults.expect(/404/);
    const page = await newVisitor({ locale });
    for (const [path, title] of [
      [INVALID_CHANNEL, noName],
      [`/${"x".repeat(65)}`, noName],
      ["/embed/a%20b", noName],
      ["/no/such/page", noPage],
    ] as const) {
      const response = await page.goto(path);
      expect(response?.status(), path).toBe(404);
      await expect(page.locator("html")).toHaveAttribute("lang", lang);
      await expect(page).toHaveTitle(title);
      await expect(page.getByRole("heading", { name: title })).toBeVisible();
    }
  });

  test(`the home page, the channel page and the player are in the language of ${locale}`, async ({
    newVisitor,
    channelId,
  }) => {
    const page = await newVisitor({ locale });
    for (const [path, title] of [
      ["/", "Aforo"],
      [`/${channelId}`, channelId],
      [embedPath(channelId), channelId],
    ] as const) {
      await page.goto(path);
      await expect(page.locator("html")).toHaveAttribute("lang", lang);
      await expect(page).toHaveTitle(title);
    }
  });
}

for (const { name, path, status } of PAGES) {
  test(`${name} fits a screen of 320 px`, async ({ page, channelId, faults }) => {
    if (status >= 400) faults.expect(new RegExp(String(status)));
    await page.setViewportSize({ width: 320, height: 568 });
    const longestName = channelId.padEnd(64, "w");
    expect((await page.goto(path(longestName)))?.status()).toBe(status);
    const { content, screen } = await page.evaluate(() => ({
      content: document.documentElement.scrollWidth,
      screen: document.documentElement.clientWidth,
    }));
    expect(content).toBeLessThanOrEqual(screen);
  });

  for (const colorScheme of ["light", "dark"] as const) {
    test(`${name} is accessible in the ${colorScheme} theme`, async ({
      newVisitor,
      channelId,
      faults,
      javaScriptEnabled,
    }) => {
      if (status >= 400) faults.expect(new RegExp(String(status)));
      // Axe needs JavaScript, so instead of disabling it, remove the page's scripts. A row of the live list that fades in
      // would lack contrast for a moment.
      const page = await newVisitor({ colorScheme, reducedMotion: "reduce", javaScriptEnabled: true });
      if (!javaScriptEnabled) await removeScripts(page);
      expect((await page.goto(path(channelId)))?.status()).toBe(status);
      expect(await violations(page)).toEqual([]);
    });
  }
}

for (const state of ["stale", "unknown"]) {
  for (const colorScheme of ["light", "dark"] as const) {
    test(
      `a ${state} badge is accessible in the ${colorScheme} theme`,
      { tag: "@js" },
      async ({ newVisitor, channelId, audience }) => {
        await audience.join(channelId, 50);
        const page = await newVisitor({ colorScheme, javaScriptEnabled: true });
        await removeScripts(page, state);
        for (const path of ["/", `/${channelId}`, embedPath(channelId, true)]) {
          await page.goto(path);
          await expect(page.locator(".viewer-counter").first()).toHaveAttribute("data-state", state);
          expect(await violations(page), path).toEqual([]);
        }
      },
    );
  }
}
