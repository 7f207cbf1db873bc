/* Requests to the API: they send the key, retry after short waits, and fail with errors that say what to do. */
import { askForKey, forgetKey, keyNow } from "./key.js";

const TIMEOUT_MS = 20_000;
const TRIES = 3;
const MAX_WAIT_S = 8;

/* The server responded with an error. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || `The server responded with status ${status}.`);
    Object.assign(this, { status, title: problem.title, near: problem.near, requestId: problem.request_id });
  }
}

/* The server did not respond. */
export class Unreachable extends Error {}

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

async function send(path, signal, read) {
  const key = keyNow();
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const options = {
    headers: { Accept: read === asJson ? "application/json" : "text/markdown, application/problem+json", ...(key ? { "X-API-Key": key } : {}) },
    credentials: "omit",
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
  };
  try {
    const response = await fetch(`api/v4/${path}`, options);
    return { response, body: await (response.ok ? read(response) : response.json().catch(() => ({}))), key };
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable("The server does not respond.", { cause: error });
  }
}

const asJson = (response) => response.json().catch(() => ({}));
export const getText = (path, options) => get(path, { ...options, read: (response) => response.text() });

/* Fetch the body of a response; with `retry: false` an error is thrown at once. */
export async function get(path, { signal, retry = true, read = asJson } = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const { response, body, key } = await send(path, signal, read);
    if (response.ok) return body;
    if (response.status === 401) {
      if (key && key === keyNow()) forgetKey();
      if (!keyNow()) await askForKey(key ? body.detail : "");
      signal?.throwIfAborted();
      continue;
    }
    const wait = Number(response.headers.get("Retry-After") || Number.NaN);
    if (!retry || attempt === TRIES || !(wait <= MAX_WAIT_S)) throw new Refused(response.status, body);
    await pause(wait * (1 + Math.random() / 4));
    signal?.throwIfAborted();
  }
}
