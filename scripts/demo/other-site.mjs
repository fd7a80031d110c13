// The other site of the demo: a page on another origin that embeds the player and shows the count with the element.
import { once } from "node:events";
import { createServer } from "node:http";

const page = (aforo, channel) => `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <link rel="icon" href="data:," />
    <title>A site that embeds ${channel}</title>
    <style>
      body { max-width: 44rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.6 system-ui, sans-serif; color-scheme: light dark }
      iframe { width: 100%; aspect-ratio: 16 / 9; border: 0; border-radius: 8px }
    </style>
    <script type="module" src="${aforo}/widget.js"></script>
  </head>
  <body>
    <h1>Another site</h1>
    <p>This page is on an origin of its own. It shows the count with an element:
      <viewer-counter channel="${channel}"></viewer-counter></p>
    <p>The frame has the player. Whoever sees half of it counts as a viewer, and the statistics name this host.</p>
    <iframe src="${aforo}/embed/${channel}?counter=1" title="${channel}" allow="autoplay; fullscreen"></iframe>
  </body>
</html>
`;

/** Serves the page on a port of this machine. */
export async function start(port, aforo, channel) {
  const server = createServer((request, response) => {
    const isPage = request.url === "/";
    response.writeHead(isPage ? 200 : 404, { "content-type": "text/html; charset=utf-8" });
    response.end(isPage ? page(aforo, channel) : "");
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
}
