/**
 * Where the pictures are, and the contact sheet: target/pictures/index.html shows all of them, a row for each state.
 */

import { mkdir, readdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";

const FOLDER = resolve(import.meta.dirname, "../../target/pictures");

/** The file of a picture. */
export const fileOf = (state: string, variant: string) => join(FOLDER, state, `${variant}.png`);

/** Creates the folder of a state. */
export const folderOf = (state: string) => mkdir(join(FOLDER, state), { recursive: true });

const STYLE = `
  body { margin: 16px; background: #777; color: #fff; font: 14px system-ui; }
  section { display: flex; flex-wrap: wrap; gap: 16px; align-items: start; }
  img { display: block; max-width: 400px; max-height: 600px; }
`;

/** Writes the contact sheet when all pictures are taken. */
export default async function writeSheet(): Promise<void> {
  const files = (await readdir(FOLDER, { recursive: true })).filter((file) => file.endsWith(".png")).sort();
  const states = [...new Set(files.map(dirname))];
  const picture = (file: string) => `<a href="${file}"><img src="${file}" alt="" loading="lazy">${file}</a>`;
  const section = (state: string) =>
    `<h2>${state}</h2><section>${files
      .filter((file) => dirname(file) === state)
      .map(picture)
      .join("")}</section>`;
  const page = `<!doctype html><html lang="en"><title>Pictures</title><style>${STYLE}</style>${states.map(section).join("")}</html>`;
  await writeFile(join(FOLDER, "index.html"), page);
  console.log(`${files.length} pictures: ${join(FOLDER, "index.html")}`);
}
