/**
 * The badge as the server renders it: number, label, look and privacy. With and without JavaScript.
 */

import { expect, test } from "../fixtures/index.ts";
import { ChannelPage } from "../pages/channel-page.ts";
import { EmbedPage } from "../pages/embed-page.ts";

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}/i;

/** The badge's number in HTML. Unoptimized builds append a marker. */
const renderedNumber = (number: number) =>
  new RegExp(`<span class="viewer-counter__number">${number}(<!>)?</span>`);

test("the server's HTML contains the count", async ({ page, channelId, audience, self }) => {
  await audience.join(channelId, 3);
  const channelPage = new ChannelPage(page);
  const html = await channelPage.goto(channelId);
  expect(html).toMatch(renderedNumber(3));
  await channelPage.expectCount(3 + self);
});

test("the first viewer of a channel sees 1 already in the server's HTML", async ({ page, channelId }) => {
  const channelPage = new ChannelPage(page);
  const html = await channelPage.goto(channelId);
  expect(html).toMatch(renderedNumber(1));
  await channelPage.expectCount(1);
});

for (const { locale, one, two } of [
  { locale: "es-ES", one: "1 espectador", two: "2 espectadores" },
  { locale: "es-MX", one: "1 espectador", two: "2 espectadores" },
  { locale: "en-GB", one: "1 viewer", two: "2 viewers" },
  { locale: "pt-BR", one: "1 espectador", two: "2 espectadores" },
  { locale: "de-DE", one: "1 espectador", two: "2 espectadores" },
]) {
  test(`the label for ${locale} is "${one}", then "${two}"`, async ({
    newVisitor,
    channelId,
    audience,
    self,
  }) => {
    const channelPage = new ChannelPage(await newVisitor({ locale }));
    await audience.join(channelId, 1 - self);
    await channelPage.goto(channelId);
    await expect(channelPage.badge.root).toHaveRole("img");
    await expect(channelPage.badge.root).toHaveAccessibleName(one);
    await audience.join(channelId);
    await channelPage.goto(channelId);
    await expect(channelPage.badge.root).toHaveAccessibleName(two);
  });
}

test("the badge's text is only the number", async ({ page, channelId, audience, self }) => {
  await audience.join(channelId, 12);
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  await expect(channelPage.badge.root).toHaveText(String(12 + self));
});

test("the badge is red, with rounded corners, a dot, an eye and a white number", async ({
  page,
  channelId,
}) => {
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  const { badge } = channelPage;
  await expect(badge.root).toHaveAttribute("data-state", "live");
  await expect(badge.root).toHaveCSS("background-color", "rgb(220, 38, 38)");
  await expect(badge.root).toHaveCSS("border-radius", "8px");
  await expect(badge.root).toHaveCSS("padding", "8px 12px");
  await expect(badge.root).toHaveCSS("gap", "8px");
  await expect(badge.dot).toHaveCSS("width", "6px");
  await expect(badge.dot).toHaveCSS("height", "6px");
  await expect(badge.dot).toHaveCSS("border-radius", "50%");
  await expect(badge.eye).toHaveCSS("width", "16px");
  await expect(badge.eye).toHaveCSS("height", "16px");
  await expect(badge.number).toHaveCSS("font-size", "14px");
  await expect(badge.number).toHaveCSS("font-weight", "500");
  await expect(badge.number).toHaveCSS("color", "rgb(255, 255, 255)");
});

test("the dot pulses, except with prefers-reduced-motion", async ({ page, channelId }) => {
  const channelPage = new ChannelPage(page);
  await channelPage.goto(channelId);
  await expect(channelPage.badge.dot).not.toHaveCSS("animation-name", "none");
  await page.emulateMedia({ reducedMotion: "reduce" });
  await expect(channelPage.badge.dot).toHaveCSS("animation-name", "none");
});

test("the server's HTML contains no viewer or session ids", async ({ page, channelId, audience }) => {
  await audience.join(channelId, 2);
  for (const html of [
    await new ChannelPage(page).goto(channelId),
    await new EmbedPage(page).goto(channelId),
    await new EmbedPage(page).goto(channelId, true),
  ]) {
    expect(html).toContain(channelId);
    expect(html).not.toMatch(UUID);
  }
});

test("pages without JavaScript are not counted", async ({ newVisitor, channelId, audience }) => {
  const page = await newVisitor({ javaScriptEnabled: false });
  await new ChannelPage(page).goto(channelId);
  await new EmbedPage(page).goto(channelId);
  await new EmbedPage(page).goto(channelId, true);
  expect(await audience.count(channelId)).toBe(0);
});
