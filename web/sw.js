// SPDX-License-Identifier: Apache-2.0
// What has been loaded once works without a network: answers are kept, and given where the network has none. Models have a place of
// their own (src/models.js), and their lists come through here. Pages are isolated from other origins, as a server's headers would do it:
// so the codec has threads, from the second visit on.
const KEPT = "jahp-page";

addEventListener("install", () => skipWaiting());
addEventListener("activate", event => event.waitUntil(clients.claim()));
addEventListener("fetch", event => {
  const {request} = event;
  if (request.method !== "GET" || new URL(request.url).origin !== location.origin || /\/models\/.*\.bin$/.test(request.url)) return;
  event.respondWith(fetch(request).then(async response => {
    if (response.ok) await (await caches.open(KEPT)).put(request, response.clone()).catch(() => {});
    return isolated(response);
  }, async error => {
    const kept = await caches.match(request, {ignoreVary: true});
    if (kept) return isolated(kept);
    throw error;
  }));
});

function isolated(response) {
  if (response.type !== "basic" && response.type !== "default") return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  const {status, statusText} = response;
  return new Response([204, 205, 304].includes(status) ? null : response.body, {status, statusText, headers});
}
