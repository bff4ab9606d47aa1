// Brings the page up to date every few seconds, changing only what has changed: nothing flickers, jumps or closes.
"use strict";

const EVERY_MS = 3000;
const page = document.getElementById("page");
const alarm = document.getElementById("alarm");
let asOf = new Date();

function settle(now, next) {
  if (now.isEqualNode(next)) return;
  if (now.nodeName !== next.nodeName) return now.replaceWith(document.importNode(next, true));
  if (now.nodeType === Node.TEXT_NODE) { now.nodeValue = next.nodeValue; return; }
  for (const { name } of [...now.attributes]) if (!next.hasAttribute(name)) now.removeAttribute(name);
  for (const { name, value } of next.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  const there = [...now.childNodes], wanted = [...next.childNodes];
  wanted.forEach((node, i) => i < there.length ? settle(there[i], node) : now.append(document.importNode(node, true)));
  there.slice(wanted.length).forEach((node) => node.remove());
}

async function refresh() {
  try {
    const answer = await fetch("/status", { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) throw new Error(answer.status);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = next.title;
    settle(page, next.getElementById("page"));
    asOf = new Date();
    alarm.hidden = true;
  } catch {
    alarm.textContent = `The coordinator does not answer. This is how it stood at ${asOf.toLocaleTimeString()}; `
      + "asking again every few seconds.";
    alarm.hidden = false;
  }
  setTimeout(turn, EVERY_MS);
}

function turn() {
  if (!document.hidden) return refresh();
  document.addEventListener("visibilitychange", turn, { once: true });
}

setTimeout(turn, EVERY_MS);
