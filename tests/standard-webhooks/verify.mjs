// Verifies requests with the library of Standard Webhooks: `{secrets, requests: [{headers, body}]}` as JSON on standard
// input. Ends with an error if a request is not valid for every secret, or is valid for another one.
import assert from "node:assert/strict";
import { Webhook } from "standardwebhooks";

let input = "";
for await (const chunk of process.stdin) input += chunk;
const { secrets, requests } = JSON.parse(input);

assert.ok(secrets.length > 0 && requests.length > 0);
const stranger = new Webhook("whsec_" + Buffer.alloc(32, 9).toString("base64"));
for (const { headers, body } of requests) {
  for (const secret of secrets) {
    const webhook = new Webhook(secret);
    assert.deepEqual(webhook.verify(body, headers), JSON.parse(body));
    assert.throws(() => webhook.verify(body + " ", headers));
    assert.throws(() => webhook.verify(body, { ...headers, "webhook-id": "evt_other" }));
  }
  assert.throws(() => stranger.verify(body, headers));
  assert.equal(headers["content-type"], "application/json");
}
