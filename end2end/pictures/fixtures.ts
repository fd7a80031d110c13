/**
 * The `test` function of the pictures: a worker has one stage.
 */

import { test as base } from "@playwright/test";

import { Stage } from "./stage.ts";

export const test = base.extend<object, { stage: Stage }>({
  stage: [
    async ({}, use) => {
      const stage = new Stage();
      await use(stage);
      await stage.close();
    },
    { scope: "worker", timeout: 90_000 },
  ],
});
