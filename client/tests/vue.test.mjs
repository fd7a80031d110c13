// The Vue component in client/README.md, compiled as Vue's build tools do it: a server renders it with the package, and in a
// page it shows the counts that it gets, until it is unmounted. client/test.mjs has packed the package.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { createRenderer, nextTick } from "vue";
import { compileScript, parse } from "vue/compiler-sfc";
import { renderToString } from "vue/server-renderer";

const { buildSync } = createRequire(join(process.cwd(), "scripts/package.json"))("esbuild");

const tests = "target/client-tests";
const app = resolve(tests, "vue-app");
mkdirSync(`${app}/node_modules/aforo`, { recursive: true });
execFileSync("tar", [
  "-xzf",
  `${tests}/aforo.tgz`,
  "--strip-components=1",
  "-C",
  `${app}/node_modules/aforo`,
]);
symlinkSync(resolve("client/node_modules/vue"), `${app}/node_modules/vue`);

const blocks = [...readFileSync("client/README.md", "utf8").matchAll(/^```vue\n(.*?)^```$/gms)];
const [[, source]] = blocks;

/** Compiles the component for a server or for a page, and imports it. `alias` replaces packages. */
async function load(name, ssr, alias = {}) {
  const { descriptor, errors } = parse(source, { filename: "Viewers.vue" });
  assert.deepEqual(errors, []);
  const templateOptions = { ssr, ssrCssVars: [] };
  const { content } = compileScript(descriptor, { id: "viewers", inlineTemplate: true, templateOptions });
  const outfile = `${app}/${name}.mjs`;
  buildSync({
    stdin: { contents: content, resolveDir: app },
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    external: ["vue", "vue/server-renderer"],
    alias,
    logLevel: "silent",
  });
  return (await import(pathToFileURL(outfile))).default;
}

/** Elements and texts as plain objects: as much of a page as the component needs. */
const { createApp } = createRenderer({
  createText: (text) => ({ text }),
  createComment: () => ({ text: "" }),
  setText: (node, text) => (node.text = text),
  insert(node, parent, anchor) {
    node.parent = parent;
    parent.children.splice(anchor ? parent.children.indexOf(anchor) : parent.children.length, 0, node);
  },
  remove(node) {
    node.parent.children.splice(node.parent.children.indexOf(node), 1);
  },
  parentNode: (node) => node.parent,
  nextSibling: (node) => node.parent.children[node.parent.children.indexOf(node) + 1],
});

test("there is one Vue component in the description", () => assert.equal(blocks.length, 1));

test("a server renders it without a count, and without a request", async (t) => {
  t.mock.method(globalThis, "fetch", () => assert.fail("called on a server"));
  const { createSSRApp } = await import("vue");
  const html = await renderToString(createSSRApp(await load("server", true), { channel: "ana" }));
  assert.equal(html.replace(/<!--.*?-->/g, ""), "—");
});

test("in a page it shows each count, and stops when it is unmounted", async () => {
  const stub = `${app}/shared.mjs`;
  writeFileSync(
    stub,
    `export const watchCount = (channel, update) => {
      const watch = { channel, update, isStopped: false };
      globalThis.watches.push(watch);
      return () => (watch.isStopped = true);
    };`,
  );
  const watches = (globalThis.watches = []);
  const component = await load("page", false, { "aforo/shared": stub });
  const page = { children: [] };
  const text = () => page.children.map((node) => node.text).join("");
  const mounted = createApp(component, { channel: "ana" });
  mounted.mount(page);
  assert.equal(text(), "—");
  assert.deepEqual(
    watches.map(({ channel, isStopped }) => [channel, isStopped]),
    [["ana", false]],
  );
  for (const [count, expected] of [
    [7, "7"],
    [0, "0"],
    [null, "—"],
  ]) {
    watches[0].update({ count });
    await nextTick();
    assert.equal(text(), expected);
  }
  mounted.unmount();
  assert.equal(watches.length, 1);
  assert.equal(watches[0].isStopped, true);
});
