/**
 * How a state is looked at: theme, size of the screen, language, and what the browser lacks.
 */

import { devices, type BrowserContextOptions } from "@playwright/test";

interface Variant {
  context?: BrowserContextOptions;
  print?: boolean;
}

const desktop = { width: 1280, height: 800 };

const NAMED = {
  light: {},
  dark: { context: { colorScheme: "dark" } },
  phone: { context: { ...devices["Pixel 7"], deviceScaleFactor: 1 } },
  narrow: { context: { viewport: { width: 320, height: 568 } } },
  landscape: { context: { viewport: { width: 667, height: 320 } } },
  forced: { context: { forcedColors: "active", colorScheme: "dark" } },
  "no-script": { context: { javaScriptEnabled: false } },
  english: { context: { locale: "en-GB" } },
  portuguese: { context: { locale: "pt-BR", viewport: { width: 390, height: 844 } } },
  print: { context: { viewport: { width: 718, height: 1000 } }, print: true },
} satisfies Record<string, Variant>;

export type VariantName = keyof typeof NAMED;

export const VARIANTS: Record<VariantName, Variant> = NAMED;

/** The settings of a context for a variant. Nothing moves, so that two pictures of a state are alike. */
export function contextOf(name: VariantName, size?: { width: number; height: number }) {
  const { context } = VARIANTS[name];
  const options: BrowserContextOptions = {
    viewport: desktop,
    reducedMotion: "reduce",
    timezoneId: "America/Lima",
    ...context,
  };
  return size ? { ...options, viewport: size } : options;
}
