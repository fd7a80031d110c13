// Posts a message to Discord when a channel goes on air. It receives Aforo's webhooks, checks their signature, and calls
// a webhook of Discord.
//
//   npm install standardwebhooks
//   WEBHOOK_SECRET=whsec_… DISCORD_WEBHOOK_URL=https://discord.com/api/webhooks/… SITE=https://your.site node discord.mjs
//
// Aforo on the same machine needs WEBHOOK_URLS=http://127.0.0.1:8787/ and WEBHOOK_ALLOW_PRIVATE=true.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const { WEBHOOK_SECRET, DISCORD_WEBHOOK_URL, SITE, HOST = "127.0.0.1", PORT = "8787" } = process.env;
if (!WEBHOOK_SECRET || !DISCORD_WEBHOOK_URL || !SITE) {
  console.error("set WEBHOOK_SECRET, DISCORD_WEBHOOK_URL and SITE");
  process.exit(2);
}
const webhook = new Webhook(WEBHOOK_SECRET);
const MAX_BODY_BYTES = 20_000;
const REMEMBERED = 1_000;

// Events come at least once, so ids are remembered. A message that Discord has not taken is forgotten again.
const posted = new Set();

async function answer(request) {
  let event;
  try {
    event = webhook.verify(await read(request), request.headers);
  } catch {
    return [401];
  }
  const id = request.headers["webhook-id"];
  if (event.type !== "channel.live" || posted.has(id)) return [204];
  posted.add(id);
  if (posted.size > REMEMBERED) posted.delete(posted.values().next().value);
  try {
    const { channelId } = event.data;
    const response = await fetch(DISCORD_WEBHOOK_URL, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        content: `**${channelId.replace(/[_*~]/g, "\\$&")}** is live: ${SITE}/${channelId}`,
        allowed_mentions: { parse: [] },
      }),
      signal: AbortSignal.timeout(10_000),
    });
    if (response.ok) return [204];
    posted.delete(id);
    // Aforo tries again, not before the time that Discord asks for.
    const retryAfter = response.headers.get("retry-after");
    return [response.status === 429 ? 429 : 502, retryAfter ? { "retry-after": retryAfter } : {}];
  } catch {
    posted.delete(id);
    return [502];
  }
}

async function read(request) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new Error("the body is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

const server = createServer(async (request, response) => {
  const [status, headers] = await answer(request);
  response.writeHead(status, headers).end();
});
server.listen(Number(PORT), HOST, () => {
  console.log(`waiting for webhooks on http://${HOST}:${server.address().port}`);
});
