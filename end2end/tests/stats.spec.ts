/**
 * The statistics page as a document, with and without JavaScript: figures, charts, tables, languages, themes and small
 * screens.
 */

import { violations } from "../fixtures/accessibility.ts";
import { removeScripts } from "../fixtures/conditions.ts";
import { expect, test as base } from "../fixtures/index.ts";
import { Audience } from "../fixtures/audience.ts";
import { StatsPage } from "../pages/stats-page.ts";

/** A server with public statistics, and viewers in its channels. */
const test = base.extend<{ url: string; crowd: Audience }>({
  url: async ({ newServer }, use) => {
    const server = await newServer({ STATS: "public" });
    await use(server.url);
  },
  crowd: async ({ url, playwright }, use) => {
    const request = await playwright.request.newContext({ baseURL: url });
    await use(new Audience(request));
    await request.dispose();
  },
});

test("a channel that never was says so, with the number of now", async ({ page, url, channelId }) => {
  const stats = new StatsPage(page);
  await page.goto(`${url}/${channelId}/stats`);
  await expect(page).toHaveTitle(`${channelId} · Estadísticas`);
  await expect(page.getByText("Este canal todavía no tiene transmisiones")).toBeVisible();
  await stats.badge.expectCount(0);
  await expect(stats.figure("peak")).toBeHidden();
  await expect(stats.plot).toHaveCount(0);
});

test("a broadcast has figures, a chart, a table behind it, and its data as CSV", async ({
  page,
  url,
  crowd,
  channelId,
}) => {
  await crowd.join(channelId, 3);
  const stats = new StatsPage(page);
  await stats.gotoWithChart(`${url}/${channelId}/stats`, 3);
  await stats.badge.expectCount(3);
  await expect(stats.figure("peak")).toHaveText("3");
  // The date comes before a time of yesterday.
  await expect(stats.figure("peakAt")).toHaveText(/^(.+, )?\d\d:\d\d$/);
  await expect(stats.figure("uniques")).toHaveText("3");
  await expect(stats.plot).toHaveAccessibleName(/^Espectadores, .*Pico: 3, (.+, )?\d\d:\d\d\. Promedio: /);

  await expect(stats.rows.first()).toBeHidden();
  await page.getByText("Ver los datos en una tabla").click();
  await expect(stats.rows.first()).toBeVisible();
  await expect(page.getByRole("columnheader", { name: "Máximo" })).toBeVisible();
  await expect(page.getByRole("row", { name: "Este sitio" })).toContainText("3");

  const csv = await page.request.get(`${url}${await page.locator("#csv").getAttribute("href")}`);
  expect((await csv.text()).split("\r\n")[0]).toBe("at,min,average,max,observed,newViewers");
});

test("links lead to each range and to each broadcast", async ({ page, url, crowd, channelId }) => {
  await crowd.join(channelId);
  const stats = new StatsPage(page);
  await stats.gotoWithChart(`${url}/${channelId}/stats`);
  await expect(stats.tab("broadcast")).toHaveAttribute("aria-current", "page");
  for (const [range, title] of [
    ["24h", "Últimas 24 horas"],
    ["7d", "Últimos 7 días"],
    ["30d", "Últimos 30 días"],
  ] as const) {
    await stats.tab(range).click();
    await expect(page.getByRole("heading", { name: title })).toBeVisible();
    await expect(stats.tab(range)).toHaveAttribute("aria-current", "page");
    await expect(stats.plot).toBeVisible();
  }
  await page.locator(".broadcast__when a").click();
  await expect(stats.tab("broadcast")).toHaveAttribute("aria-current", "page");
});

test("the form changes the time zone", async ({ page, url, crowd, channelId }) => {
  await crowd.join(channelId);
  await new StatsPage(page).gotoWithChart(`${url}/${channelId}/stats?range=24h&tz=UTC`);
  await expect(page.getByText("Las horas son de UTC.")).toBeVisible();
  await page.getByLabel("Zona horaria").selectOption("America/Lima");
  await page.getByRole("button", { name: "Cambiar" }).click();
  await expect(page).toHaveURL(/range=24h&tz=America%2FLima$/);
  await expect(page.getByText("Las horas son de Lima (UTC−5).")).toBeVisible();
});

for (const { locale, peak, meaning } of [
  { locale: "es-PE", peak: "Pico", meaning: "Qué significan estas cifras" },
  { locale: "en-GB", peak: "Peak", meaning: "What these figures mean" },
  { locale: "pt-BR", peak: "Pico", meaning: "O que significam estes números" },
]) {
  test(`the page is in the language of ${locale}`, async ({ url, crowd, channelId, newVisitor }) => {
    await crowd.join(channelId);
    const page = await newVisitor({ locale });
    await new StatsPage(page).gotoWithChart(`${url}/${channelId}/stats`);
    await expect(page.locator("html")).toHaveAttribute("lang", locale.slice(0, 2));
    await expect(page.locator("dt").first()).toHaveText(peak);
    await page.getByText(meaning).click();
    await expect(page.locator(".meaning dd").first()).toBeVisible();
  });
}

test("on a screen of 320 px nothing is cut off", async ({ page, url, crowd, channelId }) => {
  await page.setViewportSize({ width: 320, height: 568 });
  const name = channelId.padEnd(64, "w");
  await crowd.join(name, 2);
  const stats = new StatsPage(page);
  await stats.gotoWithChart(`${url}/${name}/stats`, 2);
  for (const range of ["broadcast", "24h", "7d", "30d"] as const) {
    await stats.tab(range).click();
    await expect(stats.tab(range)).toHaveAttribute("aria-current", "page");
    await page.getByText("Ver los datos en una tabla").click();
    expect(await stats.overflow(), range).toBeLessThanOrEqual(0);
    const texts = await page.locator(".chart__text:visible").evaluateAll((texts) =>
      texts.map((text) => {
        const { left, right } = text.getBoundingClientRect();
        return { left, right, size: parseFloat(getComputedStyle(text).fontSize), text: text.textContent };
      }),
    );
    expect(texts.length).toBeGreaterThan(3);
    for (const { left, right, size, text } of texts) {
      expect(left, text ?? "").toBeGreaterThanOrEqual(0);
      expect(right, text ?? "").toBeLessThanOrEqual(320);
      expect(size, "texts are not scaled with the chart").toBe(12);
    }
  }
});

test("on paper the figures, the chart and the table are whole, and controls are left out", async ({
  page,
  url,
  crowd,
  channelId,
}) => {
  const name = channelId.padEnd(64, "w");
  await crowd.join(name, 2);
  const stats = new StatsPage(page);
  await page.emulateMedia({ colorScheme: "dark" });
  // A day has a long table.
  await stats.gotoWithChart(`${url}/${name}/stats?range=24h`, 2);
  await page.getByText("Ver los datos en una tabla").click();
  // The width of a page of A4 between margins of 1 cm.
  const width = 718;
  await page.setViewportSize({ width, height: 1_047 });
  await page.emulateMedia({ media: "print", colorScheme: "dark" });

  await stats.badge.expectCount(2);
  for (const figure of ["peak", "peakAt", "average", "uniques", "watchSeconds", "observed"]) {
    await expect(stats.figure(figure), figure).toBeVisible();
  }
  await expect(stats.plot).toBeVisible();
  await expect(page.locator(".chart__legend li").first()).toBeVisible();
  await expect(page.getByRole("columnheader", { name: "Máximo" })).toBeVisible();
  await expect(page.getByRole("row", { name: "Este sitio" })).toBeVisible();
  await expect(page.locator(".broadcast__when")).toBeVisible();
  await expect(page.getByText(/^Las horas son de /)).toBeVisible();

  const controls = page.locator("nav, button, select, label, #csv, .chart__readout, .stats__pages a");
  expect(await controls.count()).toBeGreaterThan(4);
  for (const control of await controls.all()) await expect(control).toBeHidden();
  await expect(page.getByText("Qué significan estas cifras"), "closed, it says nothing").toBeHidden();

  expect(await stats.overflow()).toBeLessThanOrEqual(0);
  const table = await page.locator(".table__space").evaluate((space) => ({
    hidden: [space.scrollWidth - space.clientWidth, space.scrollHeight - space.clientHeight],
    rows: space.querySelectorAll("tbody tr").length,
  }));
  expect(table.rows).toBeGreaterThan(48);
  expect(table.hidden, "all of the table is on paper").toEqual([0, 0]);
  const cut = await page.evaluate((width) => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const range = document.createRange();
    const cut: string[] = [];
    while (walker.nextNode()) {
      range.selectNodeContents(walker.currentNode);
      const isCut = [...range.getClientRects()].some(({ left, right }) => left < 0 || right > width);
      if (isCut) cut.push(walker.currentNode.textContent ?? "");
    }
    return cut;
  }, width);
  expect(cut, "texts beyond the edge of the paper").toEqual([]);

  // Dark text on paper, whatever the theme of the screen.
  const color = await page.locator(".stats__name").evaluate((name) => getComputedStyle(name).color);
  expect(Math.max(...color.match(/\d+/g)!.slice(0, 3).map(Number)), color).toBeLessThan(100);

  await page.emulateMedia({ media: "screen" });
  await page.getByText("Ver los datos en una tabla").click();
  await page.emulateMedia({ media: "print" });
  await expect(page.getByText("Ver los datos en una tabla"), "a closed table is not on paper").toBeHidden();
});

test(
  "a number of seven digits is on one line",
  { tag: "@js" },
  async ({ url, crowd, channelId, newVisitor }) => {
    await crowd.join(channelId);
    const page = await newVisitor({ javaScriptEnabled: true });
    await removeScripts(page);
    await new StatsPage(page).gotoWithChart(`${url}/${channelId}/stats`);
    for (const width of [320, 390, 700, 900, 1280]) {
      await page.setViewportSize({ width, height: 800 });
      const heights = await page.locator(".figures--main .figure__value").evaluateAll((values) =>
        values.map((value) => {
          const heightOf = (text: string) => {
            value.textContent = text;
            return value.getBoundingClientRect().height;
          };
          return [heightOf("≈ 3.456.789"), heightOf("7")];
        }),
      );
      expect(heights.length).toBeGreaterThan(3);
      for (const [many, one] of heights) expect(many, `${width} px`).toBe(one);
    }
  },
);

for (const colorScheme of ["light", "dark"] as const) {
  test(`the page is accessible in the ${colorScheme} theme`, async ({
    url,
    crowd,
    channelId,
    newVisitor,
    javaScriptEnabled,
  }) => {
    // axe takes seconds for each of the pages.
    test.slow();
    await crowd.join(channelId, 2);
    const page = await newVisitor({ colorScheme, javaScriptEnabled: true });
    if (!javaScriptEnabled) await removeScripts(page);
    const stats = new StatsPage(page);
    await page.goto(`${url}/nobody/stats`);
    expect(await violations(page)).toEqual([]);
    await stats.gotoWithChart(`${url}/${channelId}/stats`);
    for (const range of ["broadcast", "30d"] as const) {
      await stats.tab(range).click();
      await expect(stats.tab(range)).toHaveAttribute("aria-current", "page");
      for (const summary of await page.locator("summary").all()) await summary.click();
      expect(await violations(page), range).toEqual([]);
    }
  });
}

for (const state of ["stale", "unknown"]) {
  test(
    `figures beside a ${state} number look different`,
    { tag: "@js" },
    async ({ url, crowd, channelId, newVisitor }) => {
      await crowd.join(channelId);
      const page = await newVisitor({ javaScriptEnabled: true });
      const stats = new StatsPage(page);
      const line = () =>
        page.locator(".figures--main").evaluate((list) => getComputedStyle(list).borderTopStyle);
      await removeScripts(page);
      await stats.gotoWithChart(`${url}/${channelId}/stats`);
      expect(await line()).toBe("solid");
      await page.unrouteAll();
      await removeScripts(page, state);
      await page.reload();
      expect(await line()).toBe("dashed");
      expect(await violations(page)).toEqual([]);
    },
  );
}

test(
  "in forced colors the line, the peak and the texts are visible",
  { tag: "@js" },
  async ({ url, crowd, channelId, newVisitor }) => {
    await crowd.join(channelId);
    const page = await newVisitor({ javaScriptEnabled: true, forcedColors: "active" });
    await new StatsPage(page).gotoWithChart(`${url}/${channelId}/stats`);
    const background = await page.locator("body").evaluate((body) => getComputedStyle(body).backgroundColor);
    const colors = await page.evaluate(() => {
      const color = (selector: string, name: "stroke" | "fill") =>
        getComputedStyle(document.querySelector(selector)!)[name];
      return [
        color(".chart__line", "stroke"),
        color(".chart__base", "stroke"),
        color(".chart__peak", "fill"),
        color(".chart__text", "fill"),
      ];
    });
    for (const color of colors) expect(color).not.toBe(background);
    expect(await violations(page)).toEqual([]);
  },
);

test("without a link the page is private, and says what is needed", async ({
  page,
  newServer,
  channelId,
  faults,
}) => {
  faults.expect(/401/);
  const server = await newServer();
  for (const name of [channelId, "nobody"]) {
    const response = await page.goto(`${server.url}/${name}/stats?token=wrong`);
    expect(response?.status()).toBe(401);
    await expect(page.getByRole("heading", { name: "Estas estadísticas son privadas" })).toBeVisible();
    await expect(page.locator("body")).not.toContainText(name);
  }
});
