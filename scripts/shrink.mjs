// Shrinks the output of wasm-bindgen (for a bundler, with names) to one WebAssembly and one JavaScript file,
// and removes code that no page runs. Fails if the result exceeds the size budget.
//
//   node scripts/shrink.mjs <folder with wasm-bindgen's output> <output folder>
//
// Compilers and bundlers must keep this code, but no page reaches it:
//
// - Code for panic messages: the panic functions, `Debug` and all other formatting, and source file names. A panic
//   still traps, with the same stack.
// - The classes that the crate wasm-streams exports, and the functions that they call. Leptos's server functions depend
//   on wasm-streams.
// - Unused bindings, and long import and export names.
//
// Two checks make sure that the removed code is unreachable: a call graph analysis in this file, and `smoke.mjs`, which
// runs the result. The output is written only if both pass.
//
// The first step becomes unnecessary when Rust's `panic=immediate-abort`, `-Zfmt-debug=none` and `build-std` are
// stable, the second when Leptos's `server_fn` makes its streams optional. Then `wasm-opt -Oz` and a bundler are
// enough. (cargo-leptos does not run this script.)
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync } from "node:zlib";
import binaryen from "binaryen";
import { buildSync } from "esbuild";
import { targets } from "./baseline.mjs";

/** The limit of both files together, compressed with Brotli, in bytes. */
const BUDGET = 40_960;

const [input, output] = process.argv.slice(2);
const tools = join(
  dirname(fileURLToPath(import.meta.url)),
  "node_modules/.bin",
);
/** The WebAssembly features of all browsers that Leptos supports. */
const features = [
  "bulk-memory",
  "nontrapping-float-to-int",
  "sign-ext",
  "mutable-globals",
  "reference-types",
  "multivalue",
].map((name) => `--enable-${name}`);
const either = (...patterns) =>
  new RegExp(patterns.map(({ source }) => source).join("|"));

/** Functions that only panics call, by name. Some compilers write `core[0f3a…]::` for `core::`. */
const PANIC = either(
  /core(\[\w+\])?::(panicking::|cell::panic_|(option|result)::(unwrap|expect)_failed)/,
  /core(\[\w+\])?::(slice|str)::.*_fail\b/,
  /alloc(\[\w+\])?::(raw_vec::(capacity_overflow|handle_error)|alloc::handle_alloc_error)/,
  /std(\[\w+\])?::(panicking::(panic_with_hook|panic_handler|rust_panic|begin_panic)|alloc::rust_oom)/,
  /^(__rustc(\[\w+\])?::)?(rust_panic|rust_begin_unwind|__rust_alloc_error_handler)/,
);
const FORMAT = either(
  / as core(\[\w+\])?::fmt::(Debug|Display)>::fmt/,
  /core(\[\w+\])?::fmt::(write\b|Formatter|builders|Write>?::write_fmt)|alloc(\[\w+\])?::fmt::format/,
  /<char>::escape_debug/,
);
const STREAMS = either(/js_sys::futures::future_to_promise|wasm_streams::/);
/** Source paths in panic messages. */
const SOURCE = /(\/|src\/)[\w./-]+\.rs/g;
/** The used exports: the entry point, the islands (their names end in a hash), and the functions that bindings need. */
const CALLED =
  /^(memory|hydrate|__wbindgen_\w+|__externref_\w+|wasm_bindgen__\w+|\w+_\d{10,})$/;

function removeUnused(wasm) {
  binaryen.setDebugInfo(true);
  const module = binaryen.readBinary(wasm);
  const unused = new Set();
  for (let i = 0; i < module.getNumFunctions(); i += 1) {
    const reference = module.getFunctionByIndex(i);
    const { name, module: imported } = binaryen.getFunctionInfo(reference);
    if (
      !imported &&
      [PANIC, FORMAT, STREAMS].some((pattern) => pattern.test(name))
    ) {
      binaryen.Function.setBody(reference, module.unreachable());
      unused.add(name);
    }
  }
  if (unused.size < 50)
    throw new Error(
      `only ${unused.size} unused functions found: did the naming of functions change?`,
    );
  for (let i = module.getNumExports() - 1; i >= 0; i -= 1) {
    const { name } = binaryen.getExportInfo(module.getExportByIndex(i));
    if (!CALLED.test(name)) module.removeExport(name);
  }
  checkUnreachable(module.emitText());
  const named = Buffer.from(module.emitBinary()).toString("latin1");
  return Buffer.from(
    named.replace(SOURCE, (path) => "\0".repeat(path.length)),
    "latin1",
  );
}

/**
 * Fails if a reachable function calls a formatting function or one of wasm-streams. Reachable are the exports, the
 * functions in the table (which are called by pointer), and all functions that these call.
 *
 * Table entries that belong to the removed code don't count: removed functions, and the closures of wasm-streams'
 * promises.
 */
function checkUnreachable(text) {
  const calls = new Map();
  const roots = [];
  let caller = "";
  const names = /\$("[^"]*"|[^\s()]+)/g;
  for (const line of text.split("\n")) {
    caller = /^ \(func \$("[^"]*"|\S+)/.exec(line)?.[1] ?? caller;
    const [, called] =
      /\((?:return_)?(?:call|ref\.func) \$("[^"]*"|[^\s()]+)/.exec(line) ?? [];
    if (/^ \((elem|export|start) /.test(line)) {
      roots.push(...[...line.matchAll(names)].map(([, name]) => name));
    } else if (called) {
      if (!calls.has(caller)) calls.set(caller, new Set());
      calls.get(caller).add(called);
    }
  }
  const isRemoved = (name) => FORMAT.test(name) || STREAMS.test(name);
  const belongsToRemoved = (name) =>
    isRemoved(name) ||
    (/call_once\{\{vtable\.shim\}\}/.test(name) &&
      [...(calls.get(name) ?? [])].some((called) => STREAMS.test(called)));
  const seen = new Set();
  const open = roots
    .filter((name) => !belongsToRemoved(name))
    .map((name) => [name, name]);
  if (open.length < 10)
    throw new Error(
      `only ${open.length} roots found among the exports and the table: did the text format change?`,
    );
  for (const [name, path] of open) {
    if (seen.has(name)) continue;
    seen.add(name);
    for (const called of calls.get(name) ?? []) {
      if (isRemoved(called)) {
        throw new Error(
          `removed code is reachable: ${path} → ${called}. (Formatting is removed: use concat to join strings.)`,
        );
      }
      open.push([called, `${path} → ${called}`]);
    }
  }
  if (seen.size < 100)
    throw new Error(
      `only ${seen.size} reachable functions found: did the text format change?`,
    );
}

/** Shortens the import and export names. Returns the mapping from the old names, and the changed bindings. */
function shortenNames(wasm, bindings) {
  const names = JSON.parse(
    run(
      "wasm-opt",
      ...features,
      "--minify-imports-and-exports-and-modules",
      wasm,
      "-o",
      wasm,
    ),
  );
  const exports = new Map(names.exports.map(([old, short]) => [old, short]));
  const renamed = bindings.replace(/\bwasm\.(\w+)/g, (all, name) =>
    exports.has(name) ? `wasm.${exports.get(name)}` : all,
  );
  return { imports: names.imports, exports, bindings: renamed };
}

/** The JavaScript module that Leptos's pages import: instantiates the WebAssembly and exports the islands. */
function entry({ imports, exports }) {
  const islands = [...exports.keys()].filter(
    (name) => name === "hydrate" || /_\d{10,}$/.test(name),
  );
  const bound = imports.map(([module, name, short]) => ({
    module,
    name,
    short: `i_${short}`,
    key: short,
  }));
  return `
    ${bound.map(({ module, name, short }) => `import { ${name} as ${short} } from "${module}";`).join("\n")}
    import { __wbg_set_wasm } from "./aforo_bg.js";
    export { ${islands} } from "./aforo_bg.js";
    const imports = { a: { ${bound.map(({ key, short }) => `${key}: ${short}`)} } };
    export default async ({ module_or_path }) => {
      const fetched = await fetch(module_or_path);
      const { instance } = await WebAssembly.instantiate(await fetched.arrayBuffer(), imports);
      __wbg_set_wasm(instance.exports);
      instance.exports.${exports.get("__wbindgen_start")}();
    };`;
}

const run = (tool, ...args) =>
  execFileSync(join(tools, tool), args, { maxBuffer: 1 << 26 }).toString();

const made = join(input, "made");
mkdirSync(made, { recursive: true });
const [shrunk, wasm] = [join(input, "shrunk.wasm"), join(made, "aforo.wasm")];
writeFileSync(
  shrunk,
  removeUnused(readFileSync(join(input, "aforo_bg.wasm"))),
);
const strip = ["debug", "producers", "target-features"].map(
  (what) => `--strip-${what}`,
);
run("wasm-opt", "-Oz", "--converge", ...strip, ...features, shrunk, "-o", wasm);

// Mark these initializers as free of side effects, so that the bundler can drop the unused ones.
const bindings = readFileSync(join(input, "aforo_bg.js"), "utf8")
  .replace(/^if \(Symbol\.dispose\) .*$/gm, "")
  .replace(
    /^const (\w+Finalization) = ([^;]*);/gm,
    "const $1 = /* @__PURE__ */ (() => $2)();",
  );
const short = shortenNames(wasm, bindings);
writeFileSync(join(input, "aforo_bg.js"), short.bindings);
writeFileSync(join(input, "entry.js"), entry(short));
buildSync({
  entryPoints: [join(input, "entry.js")],
  outfile: join(made, "aforo.js"),
  bundle: true,
  minify: true,
  format: "esm",
  target: targets,
  logLevel: "warning",
});

if (!WebAssembly.validate(readFileSync(wasm)))
  throw new Error("the output is not valid WebAssembly");
const size = ["aforo.wasm", "aforo.js"]
  .map((file) => brotliCompressSync(readFileSync(join(made, file))).length)
  .reduce((sum, bytes) => sum + bytes);
console.log(`browser code: ${size} of ${BUDGET} bytes`);
if (size > BUDGET) throw new Error("the browser code exceeds its budget");

// smoke.mjs finds the names of the islands in the original bindings.
writeFileSync(join(input, "aforo_bg.js"), bindings);
execFileSync(
  process.execPath,
  [join(import.meta.dirname, "smoke.mjs"), input, made],
  { stdio: "inherit" },
);
for (const file of ["aforo.wasm", "aforo.js"])
  copyFileSync(join(made, file), join(output, file));
