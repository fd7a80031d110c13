// The oldest browsers in which everything works (.browserslistrc), as esbuild wants to be told. Run by itself it prints them.
import { fileURLToPath } from "node:url";
import browserslist from "browserslist";

const NAMES = { ios_saf: "ios" };

/** Every version from the oldest on, as `chrome 109`. */
export const browsers = browserslist(null, { path: import.meta.dirname });

/** The oldest version of each, as `chrome109`. */
export const targets = Object.values(
  Object.fromEntries(
    browsers.map((browser) => {
      const [name, version] = browser.split(" ");
      return [name, `${NAMES[name] ?? name}${version.split("-")[0]}`];
    }),
  ),
);

if (process.argv[1] === fileURLToPath(import.meta.url))
  console.log(targets.join());
