// SPDX-License-Identifier: Apache-2.0
// What has been loaded once works without a network: answers are kept, and given where the network has none. Models have a place of
// their own (src/models.js), and their lists come through here.
const KEPT = "jahp-page";

addEventListener("install", () => skipWaiting());
addEventListener("activate", event => event.waitUntil(clients.claim()));
addEventListener("fetch", event => {
  const {request} = event;
  if (request.method !== "GET" || new URL(request.url).origin !== location.origin || /\/models\/.*\.bin$/.test(request.url)) return;
  event.respondWith(fetch(request).then(async response => {
    if (response.ok) await (await caches.open(KEPT)).put(request, response.clone()).catch(() => {});
    return response;
  }, async error => {
    const kept = await caches.match(request, {ignoreVary: true});
    if (kept) return kept;
    throw error;
  }));
});
