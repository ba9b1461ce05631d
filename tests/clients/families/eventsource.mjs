// The `eventsource` package for Node: the same code as in a browser, with its class in place of the built-in one.

import { EventSource } from "eventsource";

import { eventSource } from "./browser/clients.mjs";

export const clients = [
  {
    name: "eventsource, Node",
    dialect: "generic",
    speaksAll: true,
    unfinished: "asks again",
    method: "GET",
    route: "/stream",
    start: () => (globalThis.EventSource = EventSource),
    run: eventSource,
  },
];
